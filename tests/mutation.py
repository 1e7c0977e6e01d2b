"""``make mutation``: change the rules one place at a time and see whether a test notices.

Each mutant is one comparison, one `and` or `or`, one `not`, one constant or one
conditional turned round, in a copy of the project; the tables of the plan and
the whole passes are run against it. Whoever survives is printed.
"""

import ast
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
COPIED = ("operator", "tests", "crds", "docs", "examples", "deploy", "pyproject.toml")
MODULES = ("plan", "guards", "proposal", "deletion", "publication", "retries", "subject")
TABLES = ("plan", "plan_calls", "plan_questions", "plan_guards", "plan_deletion", "plan_publication", "proposal")
PASSES = ("reconcile", "reconcile_guards", "reconcile_deletion", "reconcile_publication", "reconcile_neighbours")
OPPOSITE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}


def changes(tree: ast.AST) -> Iterator[tuple[ast.expr, dict[str, object]]]:
    """Yield each place that can be changed, with its new attributes."""
    for node in ast.walk(tree):
        match node:
            case ast.Compare(ops=[operation, *rest]) if type(operation) in OPPOSITE:
                yield node, {"ops": [OPPOSITE[type(operation)](), *rest]}
            case ast.BoolOp(op=operation):
                yield node, {"op": ast.Or() if isinstance(operation, ast.And) else ast.And()}
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                # Twice "not" is none.
                yield node, {"operand": ast.UnaryOp(ast.Not(), operand)}
            case ast.Constant(value=bool(value)):
                yield node, {"value": not value}
            case ast.Constant(value=int(number)):
                yield node, {"value": number + 1}
            case ast.IfExp(body=body, orelse=orelse):
                yield node, {"body": orelse, "orelse": body}
            case _:
                pass


def mutants(source: str) -> Iterator[tuple[str, str]]:
    """Yield what each change was made to, and the whole text after it."""
    for number in range(len(list(changes(ast.parse(source))))):
        tree = ast.parse(source)
        node, attributes = list(changes(tree))[number]
        place = f"line {node.lineno}: {ast.unparse(node)}"
        vars(node).update(attributes)
        yield place, ast.unparse(ast.fix_missing_locations(tree))


def is_noticed(folder: Path) -> bool:
    """Run the tests in the copy; the project itself must not be imported instead."""
    tests = [f"tests/unit/test_{name}.py" for name in (*TABLES, *PASSES)]
    options = ["-q", "-x", "-p", "no:cacheprovider", "-p", "no:randomly", "--timeout", "60"]
    environment = os.environ | {"PYTHONPATH": f"{folder}:{folder}/operator", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", *options, *tests]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False).returncode != 0


def main(modules: list[str]) -> int:
    """Print who survives and the score; fail below 95 %."""
    with tempfile.TemporaryDirectory(prefix="tair-mutation-") as name:
        folder = Path(name)
        for part in COPIED:
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
            copy(ROOT / part, folder / part)
        if is_noticed(folder):
            print("the tests fail without any change", file=sys.stderr)
            return 1
        total = survived = 0
        for module in modules or MODULES:
            path = folder / "operator" / "tair_operator" / f"{module}.py"
            source = path.read_text(encoding="utf-8")
            for place, text in mutants(source):
                path.write_text(text, encoding="utf-8")
                total += 1
                if not is_noticed(folder):
                    survived += 1
                    print(f"survived: {module}.py, {place}", flush=True)
            path.write_text(source, encoding="utf-8")
    score = 100 * (total - survived) / max(total, 1)
    print(f"{total} mutants, {survived} survived: {score:.1f} %")
    return 0 if score >= 95 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
