# The first script in the virtual machine: starts what the cases need, and runs them with runc and with runsc.
stty -F /dev/ttyS1 -opost
export PATH=/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin WORK=/var/lib/work
mkdir -p $WORK /usr/local/bin /var/lib/docker; cp /mnt/runsc /usr/local/bin/runsc
ip link set lo up
# As docs/engines.md has it, but for the daemon's own way of starting.
runsc install >/dev/null; runsc install --runtime runsc-other -- --overlay2=none >/dev/null
systemd-run -q --unit=suite-containerd containerd; systemd-run -q --unit=suite-docker dockerd --iptables=false --ip6tables=false --bridge=none
for _ in $(seq 300); do docker version >/dev/null 2>&1 && break; sleep 0.2; done; docker version >/dev/null || exit
docker import /mnt/image.tar busy >/dev/null
for runtime in runc runsc; do
    echo "##### $runtime"
    rm -rf $WORK/*; cp -a /mnt/bundle $WORK/bundle
    BUNDLE=$WORK/bundle RUNTIME=$runtime timeout 800 bash /mnt/systemd.sh
done
echo "##### end"
