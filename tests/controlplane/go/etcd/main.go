// Command etcd is the store of the local control plane. The module
// go.etcd.io/etcd/server/v3 ships no main package under its own path.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
