package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

const (
	normal = "Normal"
	pause  = time.Second
	fence  = time.Second
)

// Reconciler runs the same protocol as the Tair operator: observe, ask who owns the instance, store an intent behind a
// resourceVersion, call once, store the answer, look until the instance is Normal, store the result.
type Reconciler struct {
	Cached client.Client // reads from the informer, as controllers do: the intent is what refuses a stale view
	Live   client.Reader
	Cloud  *Cloud
	Events record.EventRecorder
	Resync time.Duration
}

// Reconcile is one pass.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	var resource TairInstance
	if err := r.Cached.Get(ctx, request.NamespacedName, &resource); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	seen, err := r.Cloud.Observe(ctx, resource.Spec)
	if err != nil {
		return ctrl.Result{}, err
	}
	isAllocated := seen.Endpoint.State == "Allocated"
	operation := resource.Status.Operation
	if operation != nil && !isSettled(operation) {
		isDone := isAllocated == (operation.Action == allocate) && seen.Instance.Status == normal
		if !isDone {
			return ctrl.Result{RequeueAfter: pause}, nil
		}
		operation = copied(operation)
		operation.Outcome, operation.FinishedAt = "Succeeded", now()
	}
	wanted := resource.Spec.DirectConnection
	if wanted == nil || *wanted == isAllocated {
		return r.reportReached(ctx, &resource, seen, operation)
	}
	if seen.Instance.Status != normal {
		return ctrl.Result{RequeueAfter: pause}, nil
	}
	action := release
	if *wanted {
		action = allocate
	}
	if owner, err := r.owner(ctx, &resource); err != nil || owner != resource.UID {
		return ctrl.Result{RequeueAfter: r.Resync}, err
	}
	return r.act(ctx, &resource, seen, action)
}

// owner asks, live, which resource names this instance; the oldest one owns it.
func (r *Reconciler) owner(ctx context.Context, resource *TairInstance) (types.UID, error) {
	var claims TairInstanceList
	if err := r.Live.List(ctx, &claims, client.MatchingFields{"spec.instanceId": resource.Spec.InstanceID}); err != nil {
		return "", err
	}
	if len(claims.Items) == 0 {
		return "", nil
	}
	oldest := slices.MinFunc(claims.Items, func(a, b TairInstance) int {
		if order := a.CreationTimestamp.Compare(b.CreationTimestamp.Time); order != 0 {
			return order
		}
		return slices.Compare([]byte(a.UID), []byte(b.UID))
	})
	return oldest.UID, nil
}

func (r *Reconciler) act(ctx context.Context, resource *TairInstance, seen *Observation, action string) (ctrl.Result, error) {
	operation := &Operation{
		ID: newWord(), Action: action, Generation: resource.Generation, Attempt: 1, StartedAt: *now(), Outcome: "Started",
	}
	state, reason := "Releasing", "Releasing"
	if action == allocate {
		state, reason = "Allocating", "Allocating"
	}
	endpoint := seen.Endpoint
	endpoint.State = state
	status := r.status(resource, seen, operation, endpoint)
	setCondition(&status, resource, "Ready", metav1.ConditionFalse, reason, action+" was announced")
	setCondition(&status, resource, "Reconciling", metav1.ConditionTrue, reason, action+" was announced")
	before, started := resource.ResourceVersion, time.Now()
	if err := r.writeStatus(ctx, resource, status); err != nil {
		return ctrl.Result{}, err
	}
	if resource.ResourceVersion == before {
		return ctrl.Result{}, fmt.Errorf("the intent for %s changed nothing", resource.Name)
	}
	if time.Since(started) > fence {
		operation.Outcome = "NotSent"
	} else {
		answer, err := r.Cloud.Call(ctx, action, map[string]string{"InstanceId": resource.Spec.InstanceID})
		switch {
		case err != nil:
			operation.Outcome, operation.Message = "Unknown", err.Error()
		case answer.Code != "":
			operation.Outcome, operation.Code, operation.FinishedAt = "Rejected", answer.Code, now()
		default:
			operation.Outcome, operation.RequestID, operation.HTTPStatus = "Accepted", answer.RequestID, answer.HTTPStatus
		}
	}
	if err := r.writeAnswer(ctx, resource, operation); err != nil {
		return ctrl.Result{}, err
	}
	log.FromContext(ctx).Info("called", "action", action, "outcome", operation.Outcome, "requestId", operation.RequestID)
	r.Events.Eventf(resource, corev1.EventTypeNormal, action, "%s (RequestId %s)", operation.Outcome, operation.RequestID)
	return ctrl.Result{RequeueAfter: pause}, nil
}

func (r *Reconciler) reportReached(
	ctx context.Context, resource *TairInstance, seen *Observation, operation *Operation,
) (ctrl.Result, error) {
	status := r.status(resource, seen, operation, seen.Endpoint)
	reason := seen.Endpoint.State
	if wanted := resource.Spec.DirectConnection; wanted == nil {
		reason = "Observed"
	} else if status.Reached == nil || status.Reached.DirectConnection != *wanted {
		status.Reached = &Reached{DirectConnection: *wanted, Time: *now()}
		if operation != nil {
			status.Reached.OperationID = operation.ID
		}
	}
	message := "the direct connection is as it should be"
	setCondition(&status, resource, "Ready", metav1.ConditionTrue, reason, message)
	meta.RemoveStatusCondition(&status.Conditions, "Reconciling")
	if !equality.Semantic.DeepEqual(status, resource.Status) {
		if err := r.writeStatus(ctx, resource, status); err != nil {
			return ctrl.Result{}, err
		}
		log.FromContext(ctx).Info("reached", "reason", reason)
		r.Events.Event(resource, corev1.EventTypeNormal, reason, message)
	}
	return ctrl.Result{RequeueAfter: r.Resync}, nil
}

func (r *Reconciler) status(resource *TairInstance, seen *Observation, operation *Operation, endpoint Endpoint) Status {
	status := resource.DeepCopyObject().(*TairInstance).Status
	status.ObservedGeneration = resource.Generation
	status.Instance, status.DirectConnection, status.Operation = &seen.Instance, &endpoint, operation
	return status
}

// writeStatus replaces the status, provided that the stored resource is still this very version.
func (r *Reconciler) writeStatus(ctx context.Context, resource *TairInstance, status Status) error {
	return r.patch(ctx, resource, []change{
		{"test", "/metadata/resourceVersion", resource.ResourceVersion},
		{"test", "/metadata/uid", resource.UID},
		{"add", "/status", status},
	})
}

// writeAnswer stores what became of the call; the user may have edited the resource meanwhile.
func (r *Reconciler) writeAnswer(ctx context.Context, resource *TairInstance, operation *Operation) error {
	changes := []change{
		{"test", "/metadata/uid", resource.UID},
		{"test", "/status/operation/id", operation.ID},
		{"add", "/status/operation", operation},
	}
	if operation.RequestID != "" {
		changes = append(changes, change{"add", "/status/requestId", operation.RequestID})
	}
	return r.patch(ctx, resource, changes)
}

type change struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

func (r *Reconciler) patch(ctx context.Context, resource *TairInstance, changes []change) error {
	body, err := json.Marshal(changes)
	if err != nil {
		return err
	}
	return r.Cached.Status().Patch(ctx, resource, client.RawPatch(types.JSONPatchType, body))
}

func setCondition(
	status *Status, resource *TairInstance, kind string, value metav1.ConditionStatus, reason, message string,
) {
	meta.SetStatusCondition(&status.Conditions, metav1.Condition{
		Type: kind, Status: value, Reason: reason, Message: message, ObservedGeneration: resource.Generation,
	})
}

func isSettled(operation *Operation) bool {
	return slices.Contains([]string{"Succeeded", "Failed", "Rejected", "NotSent"}, operation.Outcome)
}

func now() *metav1.Time {
	time := metav1.Now().Rfc3339Copy()
	return &time
}
