package main

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
)

const (
	apiVersion   = "2015-01-01"
	callDeadline = 5 * time.Second
	bodyLimit    = 1 << 20
	release      = "ReleaseDirectConnection"
	allocate     = "AllocateDirectConnection"
)

// Cloud calls the API with one pooled client; requests are signed with ACS3-HMAC-SHA256.
type Cloud struct {
	endpoint, host, keyID, keySecret string
	client                           *http.Client
}

// Answer is a reply, good or bad; Code is empty for a good one.
type Answer struct {
	HTTPStatus int
	RequestID  string `json:"RequestId"`
	Code       string `json:"Code"`
	Message    string `json:"Message"`
	Instances  struct {
		KVStoreInstance []struct {
			InstanceID       string `json:"InstanceId"`
			InstanceName     string `json:"InstanceName"`
			RegionID         string `json:"RegionId"`
			InstanceStatus   string `json:"InstanceStatus"`
			ArchitectureType string `json:"ArchitectureType"`
			EngineVersion    string `json:"EngineVersion"`
			NetworkType      string `json:"NetworkType"`
		} `json:"KVStoreInstance"`
	} `json:"Instances"`
	NetInfoItems struct {
		InstanceNetInfo []struct {
			ConnectionString string      `json:"ConnectionString"`
			IPAddress        string      `json:"IPAddress"`
			Port             json.Number `json:"Port"`
			DirectConnection int         `json:"DirectConnection"`
		} `json:"InstanceNetInfo"`
	} `json:"NetInfoItems"`
}

// Observation is what two looks at the same time show of an instance.
type Observation struct {
	Instance Instance
	Endpoint Endpoint
}

func newCloud(endpoint, caFile, keyID, keySecret string) (*Cloud, error) {
	transport := &http.Transport{MaxIdleConnsPerHost: 100, IdleConnTimeout: 15 * time.Second}
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(pem)
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	parsed, err := url.Parse(endpoint)
	if err != nil {
		return nil, err
	}
	return &Cloud{endpoint, parsed.Host, keyID, keySecret, &http.Client{Transport: transport}}, nil
}

// Observe asks DescribeInstances and DescribeDBInstanceNetInfo at the same time.
func (c *Cloud) Observe(ctx context.Context, spec Spec) (*Observation, error) {
	type result struct {
		answer *Answer
		err    error
	}
	shown := make(chan result, 1)
	go func() {
		answer, err := c.ask(ctx, "DescribeDBInstanceNetInfo", map[string]string{"InstanceId": spec.InstanceID})
		shown <- result{answer, err}
	}()
	listed, err := c.ask(ctx, "DescribeInstances", map[string]string{
		"RegionId": spec.RegionID, "InstanceIds": spec.InstanceID, "PageNumber": "1", "PageSize": "30",
	})
	net := <-shown
	if err != nil {
		return nil, err
	}
	if net.err != nil {
		return nil, net.err
	}
	items := listed.Instances.KVStoreInstance
	if len(items) != 1 || items[0].InstanceID != spec.InstanceID || items[0].RegionID != spec.RegionID {
		return nil, fmt.Errorf("region %s does not list %s", spec.RegionID, spec.InstanceID)
	}
	seen := &Observation{
		Instance: Instance{
			items[0].InstanceStatus, items[0].ArchitectureType, items[0].EngineVersion, items[0].NetworkType, items[0].InstanceName,
		},
		Endpoint: Endpoint{State: "Released"},
	}
	for _, item := range net.answer.NetInfoItems.InstanceNetInfo {
		if item.DirectConnection == 1 {
			port, _ := item.Port.Int64()
			seen.Endpoint = Endpoint{"Allocated", item.ConnectionString, int(port), item.IPAddress}
		}
	}
	return seen, nil
}

func (c *Cloud) ask(ctx context.Context, action string, parameters map[string]string) (*Answer, error) {
	answer, err := c.Call(ctx, action, parameters)
	if err != nil {
		return nil, err
	}
	if answer.Code != "" || answer.HTTPStatus != http.StatusOK {
		return nil, fmt.Errorf("%s: %d %s: %s", action, answer.HTTPStatus, answer.Code, answer.Message)
	}
	return answer, nil
}

// Call sends one signed POST, once.
func (c *Cloud) Call(ctx context.Context, action string, parameters map[string]string) (*Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, callDeadline)
	defer cancel()
	query := canonicalQuery(parameters)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.endpoint+"/?"+query, http.NoBody)
	if err != nil {
		return nil, err
	}
	for name, value := range c.signed(action, query) {
		request.Header.Set(name, value)
	}
	response, err := c.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, bodyLimit))
	if err != nil {
		return nil, err
	}
	answer := &Answer{HTTPStatus: response.StatusCode}
	if err := json.Unmarshal(body, answer); err != nil {
		return nil, err
	}
	return answer, nil
}

func (c *Cloud) signed(action, query string) map[string]string {
	empty := sha256.Sum256(nil)
	headers := map[string]string{
		"host":                  c.host,
		"x-acs-action":          action,
		"x-acs-content-sha256":  hex.EncodeToString(empty[:]),
		"x-acs-date":            time.Now().UTC().Format(time.RFC3339),
		"x-acs-signature-nonce": newWord(),
		"x-acs-version":         apiVersion,
	}
	names := make([]string, 0, len(headers))
	for name := range headers {
		names = append(names, name)
	}
	slices.Sort(names)
	var lines strings.Builder
	for _, name := range names {
		lines.WriteString(name + ":" + headers[name] + "\n")
	}
	list := strings.Join(names, ";")
	canonical := strings.Join([]string{"POST", "/", query, lines.String(), list, headers["x-acs-content-sha256"]}, "\n")
	hash := sha256.Sum256([]byte(canonical))
	mac := hmac.New(sha256.New, []byte(c.keySecret))
	mac.Write([]byte("ACS3-HMAC-SHA256\n" + hex.EncodeToString(hash[:])))
	headers["authorization"] = fmt.Sprintf(
		"ACS3-HMAC-SHA256 Credential=%s,SignedHeaders=%s,Signature=%s", c.keyID, list, hex.EncodeToString(mac.Sum(nil)))
	headers["accept"] = "application/json"
	delete(headers, "host") // net/http sends it by itself
	return headers
}

func canonicalQuery(parameters map[string]string) string {
	values := url.Values{}
	for name, value := range parameters {
		values.Set(name, value)
	}
	return strings.ReplaceAll(values.Encode(), "+", "%20")
}

func newWord() string {
	word := make([]byte, 16)
	_, _ = rand.Read(word)
	return hex.EncodeToString(word)
}
