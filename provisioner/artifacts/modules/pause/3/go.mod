module kubewright.local/build/pause

go 1.26.0
