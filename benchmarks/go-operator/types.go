package main

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// groupVersion is that of the CRD in crds/tairinstances.yaml.
var groupVersion = schema.GroupVersion{Group: "tair.alibabacloud.com", Version: "v1alpha1"}

// TairInstance has the fields that this operator uses; the API server prunes and defaults the rest.
type TairInstance struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              Spec   `json:"spec"`
	Status            Status `json:"status,omitempty"`
}

// Spec is what a user wants.
type Spec struct {
	InstanceID       string `json:"instanceId"`
	RegionID         string `json:"regionId"`
	DirectConnection *bool  `json:"directConnection,omitempty"`
}

// Status is what was seen and done.
type Status struct {
	ObservedGeneration int64              `json:"observedGeneration,omitempty"`
	Conditions         []metav1.Condition `json:"conditions,omitempty"`
	DirectConnection   *Endpoint          `json:"directConnection,omitempty"`
	Instance           *Instance          `json:"instance,omitempty"`
	Reached            *Reached           `json:"reached,omitempty"`
	RequestID          string             `json:"requestId,omitempty"`
	Operation          *Operation         `json:"operation,omitempty"`
}

// Endpoint is the direct connection as the cloud shows it.
type Endpoint struct {
	State     string `json:"state"`
	Host      string `json:"host,omitempty"`
	Port      int    `json:"port,omitempty"`
	IPAddress string `json:"ipAddress,omitempty"`
}

// Instance is what DescribeInstances tells.
type Instance struct {
	Status            string `json:"status,omitempty"`
	ArchitectureType  string `json:"architectureType,omitempty"`
	EngineVersion     string `json:"engineVersion,omitempty"`
	NetworkType       string `json:"networkType,omitempty"`
	InstanceClassName string `json:"name,omitempty"`
}

// Reached is the wanted value that was last reached.
type Reached struct {
	DirectConnection bool        `json:"directConnection"`
	OperationID      string      `json:"operationId,omitempty"`
	Time             metav1.Time `json:"time"`
}

// Operation is one mutating call: announced, answered, settled.
type Operation struct {
	ID         string       `json:"id"`
	Action     string       `json:"action"`
	Generation int64        `json:"generation"`
	Attempt    int          `json:"attempt"`
	StartedAt  metav1.Time  `json:"startedAt"`
	FinishedAt *metav1.Time `json:"finishedAt,omitempty"`
	Outcome    string       `json:"outcome"`
	RequestID  string       `json:"requestId,omitempty"`
	HTTPStatus int          `json:"httpStatus,omitempty"`
	Code       string       `json:"code,omitempty"`
	Message    string       `json:"message,omitempty"`
}

// TairInstanceList is what a LIST returns.
type TairInstanceList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []TairInstance `json:"items"`
}

// DeepCopyObject implements runtime.Object.
func (in *TairInstance) DeepCopyObject() runtime.Object {
	out := *in
	out.ObjectMeta = *in.ObjectMeta.DeepCopy()
	out.Spec.DirectConnection = copied(in.Spec.DirectConnection)
	out.Status.Conditions = slices.Clone(in.Status.Conditions)
	out.Status.DirectConnection = copied(in.Status.DirectConnection)
	out.Status.Instance = copied(in.Status.Instance)
	out.Status.Reached = copied(in.Status.Reached)
	out.Status.Operation = copied(in.Status.Operation)
	if out.Status.Operation != nil {
		out.Status.Operation.FinishedAt = copied(in.Status.Operation.FinishedAt)
	}
	return &out
}

// DeepCopyObject implements runtime.Object.
func (in *TairInstanceList) DeepCopyObject() runtime.Object {
	out := *in
	out.ListMeta = *in.ListMeta.DeepCopy()
	out.Items = make([]TairInstance, len(in.Items))
	for i := range in.Items {
		out.Items[i] = *in.Items[i].DeepCopyObject().(*TairInstance)
	}
	return &out
}

func copied[T any](value *T) *T {
	if value == nil {
		return nil
	}
	out := *value
	return &out
}

func newScheme(base *runtime.Scheme) *runtime.Scheme {
	base.AddKnownTypes(groupVersion, &TairInstance{}, &TairInstanceList{})
	metav1.AddToGroupVersion(base, groupVersion)
	return base
}
