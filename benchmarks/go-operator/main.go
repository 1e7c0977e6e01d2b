// A rival for the benchmarks: the safety protocol of the Tair operator on controller-runtime, and nothing else of it.
//
// No guards, no drift policy, no tenants, no limiter, no publishing, no election. It serves the CRD of this repository
// under the same RBAC, so that both can be measured on the same API server and the same simulated cloud.
package main

import (
	"fmt"
	"os"
	"time"

	"k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
)

const (
	workers = 16 // as many as the Tair operator has
	resync  = 24 * time.Hour
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	ctrl.SetLogger(zap.New())
	cloud, err := newCloud(
		os.Getenv("CLOUD_ENDPOINT"), os.Getenv("CLOUD_CA_FILE"),
		os.Getenv("ALIBABA_CLOUD_ACCESS_KEY_ID"), os.Getenv("ALIBABA_CLOUD_ACCESS_KEY_SECRET"),
	)
	if err != nil {
		return err
	}
	config, err := ctrl.GetConfig()
	if err != nil {
		return err
	}
	config.QPS = -1 // client-go's own limit of 20 requests per second would be all that is measured
	manager, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:  newScheme(scheme.Scheme),
		Metrics: server.Options{BindAddress: "0"},
	})
	if err != nil {
		return err
	}
	reconciler := &Reconciler{
		Cached: manager.GetClient(),
		Live:   manager.GetAPIReader(),
		Cloud:  cloud,
		Events: manager.GetEventRecorderFor("go-operator"),
		Resync: resync,
	}
	err = ctrl.NewControllerManagedBy(manager).
		For(&TairInstance{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		WithOptions(controller.Options{MaxConcurrentReconciles: workers}).
		Complete(reconciler)
	if err != nil {
		return err
	}
	return manager.Start(ctrl.SetupSignalHandler())
}
