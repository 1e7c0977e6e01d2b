package main

import (
	"fmt"

	helm "github.com/fluxcd/helm-controller/api/v2"
	kustomization "github.com/fluxcd/kustomize-controller/api/v1"
	source "github.com/fluxcd/source-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/json"
)

// mistake says what the types of Flux' controllers do not know of a manifest, and nothing when they know it all.
func mistake(manifest []byte) string {
	kind := &metav1.TypeMeta{}
	if err := json.UnmarshalCaseSensitivePreserveInts(manifest, kind); err != nil {
		return err.Error()
	}
	var typed any
	switch kind.GroupVersionKind().String() {
	case kustomization.GroupVersion.WithKind("Kustomization").String():
		typed = &kustomization.Kustomization{}
	case helm.GroupVersion.WithKind("HelmRelease").String():
		typed = &helm.HelmRelease{}
	case source.GroupVersion.WithKind("GitRepository").String():
		typed = &source.GitRepository{}
	case source.GroupVersion.WithKind("OCIRepository").String():
		typed = &source.OCIRepository{}
	default:
		return fmt.Sprintf("%s is no kind that is known here", kind.GroupVersionKind())
	}
	strict, err := json.UnmarshalStrict(manifest, typed)
	if err != nil {
		return err.Error()
	}
	if len(strict) > 0 {
		return fmt.Sprint(strict)
	}
	return ""
}
