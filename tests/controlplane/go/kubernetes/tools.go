//go:build tools

// Package tools names the commands that are built, so that `go mod tidy` keeps
// the sums of everything they need.
package tools

import (
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kubectl"
)
