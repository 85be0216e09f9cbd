module kubewright.local/build/etcd

go 1.26.0

require go.etcd.io/etcd/server/v3 v3.7.3
require go.etcd.io/etcd/etcdctl/v3 v3.7.3
require go.etcd.io/etcd/etcdutl/v3 v3.7.3
