package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	jsonpatch "github.com/evanphx/json-patch/v5"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	luajson "layeh.com/gopher-json"
)

type health struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

// What an action makes of a resource: the merge patch that Argo CD would send, or why it refuses.
type result struct {
	Patch   json.RawMessage `json:"patch,omitempty"`
	Refused string          `json:"refused,omitempty"`
}

func healthOf(resource *unstructured.Unstructured, script string) (*health, error) {
	// Argo CD asks no script about a resource that is being deleted (gitops-engine, pkg/health).
	if resource.GetDeletionTimestamp() != nil {
		return &health{"Progressing", "Pending deletion"}, nil
	}
	returned, err := run(resource, script)
	if err != nil {
		return nil, err
	}
	found := &health{}
	return found, json.Unmarshal(returned, found)
}

func offeredFor(resource *unstructured.Unstructured, script string) (map[string]any, error) {
	returned, err := run(resource, script)
	if err != nil {
		return nil, err
	}
	found := map[string]any{}
	return found, json.Unmarshal(returned, &found)
}

func act(resource *unstructured.Unstructured, script string) result {
	returned, err := run(resource, script)
	if err != nil {
		return result{Refused: err.Error()}
	}
	changed := &unstructured.Unstructured{}
	if err := changed.UnmarshalJSON(returned); err != nil {
		return result{Refused: err.Error()}
	}
	changed.Object = restored(changed.Object, resource.Object).(map[string]any)
	before, _ := json.Marshal(resource.Object)
	after, _ := json.Marshal(changed.Object)
	patch, err := jsonpatch.CreateMergePatch(before, after)
	if err != nil {
		return result{Refused: err.Error()}
	}
	return result{Patch: patch}
}

// run gives a script what Argo CD gives it: package, base and table, os.time and os.date behind require, and a second.
func run(resource *unstructured.Unstructured, script string) ([]byte, error) {
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{
		lua.LoadLibName: lua.OpenPackage, lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable,
	} {
		if err := state.CallByParam(lua.P{Fn: state.NewFunction(open), Protect: true}, lua.LString(name)); err != nil {
			return nil, err
		}
	}
	state.PreloadModule(lua.OsLibName, safeOs)
	limit, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	state.SetContext(limit)
	// Its numbers are int64 as from the API server, which luajson does not know.
	state.SetGlobal("obj", value(state, resource.Object))
	if err := state.DoString(script); err != nil {
		return nil, err
	}
	returned := state.Get(-1)
	if returned.Type() != lua.LTTable {
		return nil, fmt.Errorf("expect table output from Lua script, not %s", returned.Type())
	}
	return luajson.Encode(returned)
}

func safeOs(state *lua.LState) int {
	state.Push(state.NewFunction(lua.OpenOs))
	state.Call(0, 1)
	whole := state.CheckTable(-1)
	state.SetGlobal(lua.OsLibName, lua.LNil)
	safe := state.NewTable()
	for _, name := range []string{"time", "date"} {
		safe.RawSetString(name, whole.RawGetString(name))
	}
	state.Push(safe)
	return 1
}

func value(state *lua.LState, given any) lua.LValue {
	switch given := given.(type) {
	case bool:
		return lua.LBool(given)
	case int64:
		return lua.LNumber(given)
	case float64:
		return lua.LNumber(given)
	case string:
		return lua.LString(given)
	case []any:
		table := state.NewTable()
		for _, item := range given {
			table.Append(value(state, item))
		}
		return table
	case map[string]any:
		table := state.NewTable()
		for key, item := range given {
			table.RawSetString(key, value(state, item))
		}
		return table
	}
	return lua.LNil
}

// restored makes an empty object of what Lua cannot tell from an empty list, wherever the resource had an object.
func restored(changed, before any) any {
	switch changed := changed.(type) {
	case map[string]any:
		known, _ := before.(map[string]any)
		for key, item := range changed {
			changed[key] = restored(item, known[key])
		}
	case []any:
		if known, isObject := before.(map[string]any); isObject && len(changed) == 0 {
			return known
		}
		known, _ := before.([]any)
		for index := range changed {
			if index < len(known) {
				changed[index] = restored(changed[index], known[index])
			}
		}
	}
	return changed
}
