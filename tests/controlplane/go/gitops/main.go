// Command gitops-oracle says what GitOps tools make of resources and manifests: kstatus (kubectl, Helm, Flux), the
// evaluator of Flux for healthCheckExprs, and Argo CD's Lua. It reads one JSON request and writes one JSON reply.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/runtime/cel"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

type request struct {
	Resources []*unstructured.Unstructured      `json:"resources"`
	Exprs     *kustomize.HealthCheckExpressions `json:"healthCheckExprs"`
	Health    string                            `json:"health"`
	Discovery string                            `json:"discovery"`
	Actions   map[string]string                 `json:"actions"`
	Manifests []json.RawMessage                 `json:"manifests"`
}

type verdict struct {
	Kstatus string            `json:"kstatus"`
	Flux    string            `json:"flux,omitempty"`
	Argo    *health           `json:"argo,omitempty"`
	Offered map[string]any    `json:"offered,omitempty"`
	Results map[string]result `json:"results,omitempty"`
}

type reply struct {
	Verdicts []verdict `json:"verdicts"`
	Mistakes []string  `json:"mistakes"`
}

func main() {
	if err := answer(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func answer() error {
	var asked request
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		return err
	}
	answered := reply{Verdicts: []verdict{}, Mistakes: []string{}}
	var evaluator *cel.StatusEvaluator
	if asked.Exprs != nil {
		var err error
		if evaluator, err = cel.NewStatusEvaluator(asked.Exprs); err != nil {
			return err
		}
	}
	for _, resource := range asked.Resources {
		found, err := judge(&asked, evaluator, resource)
		if err != nil {
			return err
		}
		answered.Verdicts = append(answered.Verdicts, found)
	}
	for _, manifest := range asked.Manifests {
		answered.Mistakes = append(answered.Mistakes, mistake(manifest))
	}
	return json.NewEncoder(os.Stdout).Encode(answered)
}

func judge(asked *request, evaluator *cel.StatusEvaluator, resource *unstructured.Unstructured) (verdict, error) {
	computed, err := status.Compute(resource)
	if err != nil {
		return verdict{}, err
	}
	found := verdict{Kstatus: computed.Status.String(), Results: map[string]result{}}
	if evaluator != nil {
		// Flux calls a failed evaluation a failed look, and looks again.
		if evaluated, err := evaluator.Evaluate(context.Background(), resource); err != nil {
			found.Flux = "Error"
		} else {
			found.Flux = evaluated.Status.String()
		}
	}
	if asked.Health != "" {
		if found.Argo, err = healthOf(resource, asked.Health); err != nil {
			return verdict{}, err
		}
	}
	if asked.Discovery != "" {
		if found.Offered, err = offeredFor(resource, asked.Discovery); err != nil {
			return verdict{}, err
		}
	}
	for name, script := range asked.Actions {
		found.Results[name] = act(resource, script)
	}
	return found, nil
}
