# Pods by containerd's plugin for Kubernetes. Run once with runc and once with runsc: each case must print the same.
# $CLIENT is the client, $SOCK containerd's socket, $HANDLER the runtime handler, $IMAGE the image, $WORK a directory of our own.
exec /usr/bin/python3 "$CLIENT"
