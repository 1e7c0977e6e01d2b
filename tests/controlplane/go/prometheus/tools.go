//go:build tools

// Package tools names the commands that are built, so that `go mod tidy` keeps
// the sums of everything they need.
package tools

import (
	_ "github.com/prometheus/prometheus/cmd/prometheus"
	_ "github.com/prometheus/prometheus/cmd/promtool"
)
