"""A kubelet's requests to a container engine (Kubernetes' Container Runtime Interface, runtime.v1), by gRPC without generated code.

Messages are written as dictionaries from field numbers to values: integers, text, bytes, messages, or lists of them.
"""
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc

WORK, HANDLER, IMAGE = (os.environ[name] for name in ("WORK", "HANDLER", "IMAGE"))
READY, RUNNING, EXITED = 0, 1, 2


def varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def encode(message):
    out = b""
    for field, values in message.items():
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, int):
                out += varint(field << 3) + varint(value)
                continue
            data = encode(value) if isinstance(value, dict) else value.encode()
            out += varint(field << 3 | 2) + varint(len(data)) + data
    return out


def decode(data):
    """Returns what the fields hold: integers, and bytes for everything else; the last one of each."""
    message, at = {}, 0

    def number():
        nonlocal at
        value, shift = 0, 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        key = number()
        if key & 7 == 0:
            message[key >> 3] = number()
        else:
            length = number()
            message[key >> 3] = data[at:at + length]
            at += length
    return message


channel = grpc.insecure_channel("unix://" + os.environ["SOCK"])


def call(method, message):
    name = "/runtime.v1.RuntimeService/" + method
    asked = channel.unary_unary(name, request_serializer=encode, response_deserializer=decode)
    return asked(message, timeout=30)


def case(name):
    print("==", name, flush=True)


def until(what, condition):
    for _ in range(200):
        if condition():
            return
        time.sleep(0.05)
    print("never:", what)


def pod_config(name, **more):
    metadata = {1: name, 2: name + "-uid", 3: "default", 4: 0}
    linux = {1: "/cri-" + HANDLER, 2: {1: {1: 0, 2: 1, 3: 0}}}
    config = {1: metadata, 2: "host-of-" + name, 3: os.path.join(WORK, name), 8: linux}
    return config | more


def run_pod(config):
    os.makedirs(config[3], exist_ok=True)
    return call("RunPodSandbox", {1: config, 2: HANDLER})[1].decode()


def create(pod, config, name, command, mounts=(), memory=0):
    resources = {4: memory} if memory else {}
    container = {
        1: {1: name}, 2: {1: IMAGE}, 3: ["sh", "-c", command], 5: "/tmp", 6: [{1: "KEY", 2: "value"}],
        7: [{1: inside, 2: outside} for inside, outside in mounts], 10: {1: "dev.example/none", 2: "x"},
        11: name + ".log", 15: {1: resources, 2: {3: {1: 0, 2: 1, 3: 0}}},
    }
    return call("CreateContainer", {1: pod, 2: container, 3: config})[1].decode()


def status(container):
    return decode(call("ContainerStatus", {1: container})[1])


def state(container):
    return status(container).get(3, 0)


def execute(container, command):
    said = call("ExecSync", {1: container, 2: ["sh", "-c", command], 3: 20})
    return said.get(1, b"").decode() + f"status {said.get(3, 0)}"


def log(config, name):
    with open(os.path.join(config[3], name + ".log")) as lines:
        return [line.rstrip("\n").split(" ", 3)[1:] for line in lines]


def left():
    """What the handler's cgroups hold; runc leaves some where containers end while it looks."""
    if HANDLER == "runc":
        return []
    root = "/sys/fs/cgroup/memory/cri-" + HANDLER
    return [name for name in os.listdir(root) if os.path.isdir(os.path.join(root, name))] if os.path.isdir(root) else []


def whole_life(number):
    """Makes a pod with a container, runs a command in it, and removes the pod."""
    config = pod_config(f"many-{number}")
    pod = run_pod(config)
    container = create(pod, config, "one", "sleep 1000")
    call("StartContainer", {1: container})
    said = execute(container, f"echo {number} in $(hostname)")
    call("StopPodSandbox", {1: pod})
    call("RemovePodSandbox", {1: pod})
    return said


def main():
    case("a pod")
    config = pod_config("pod")
    pod = run_pod(config)
    print(decode(call("PodSandboxStatus", {1: pod})[1]).get(3, 0) == READY)

    case("a container in it")
    os.makedirs(WORK + "/volume", exist_ok=True)
    volume = [("/v", WORK + "/volume")]
    loop = "echo begun; trap 'echo ends; exit 3' TERM; touch /v/begun; while :; do sleep 0.05; done"
    first = create(pod, config, "first", loop, volume, 64 << 20)
    print(state(first))
    call("StartContainer", {1: first})
    until("begun", lambda: os.path.exists(WORK + "/volume/begun"))
    print(state(first) == RUNNING, log(config, "first"))

    case("a command in it")
    print(execute(first, "hostname; pwd; echo $KEY; ls /v; exit 6"))

    case("a second container shares the first one's network and volume")
    second = create(pod, config, "second", "sleep 1000", volume)
    call("StartContainer", {1: second})
    until("running", lambda: state(second) == RUNNING)
    print(execute(first, "cat /proc/net/dev | cut -d: -f1 | tr -d ' ' | tail -n +3 | sort | tr '\\n' ' '"))
    heard = WORK + "/volume/heard"
    listening = threading.Thread(target=execute, args=(second, "until test -s /v/heard; do nc -l -p 7777 >/v/heard; done"))
    listening.start()

    def say():
        execute(first, "echo said | nc -w 2 127.0.0.1 7777")
        return os.path.exists(heard) and os.path.getsize(heard) > 0

    until("heard", say)
    listening.join()
    print(open(WORK + "/volume/heard").read(), end="")

    case("figures")
    stats = decode(call("ContainerStats", {1: first})[1])
    print(sorted(stats)[:2], decode(decode(stats[3])[2])[1] > 0)

    case("a container that ends")
    third = create(pod, config, "third", "echo out; echo err >&2; exit 5")
    call("StartContainer", {1: third})
    until("ended", lambda: state(third) == EXITED)
    print(status(third)[7], sorted(log(config, "third")))

    case("a container without a program")
    broken = call("CreateContainer", {1: pod, 2: {1: {1: "broken"}, 2: {1: IMAGE}, 3: ["nosuch"], 15: {}}, 3: config})[1].decode()
    try:
        call("StartContainer", {1: broken})
        print("started")
    except grpc.RpcError as error:
        print("refused", "nosuch" in error.details())

    case("stopped")
    call("StopContainer", {1: first, 2: 10})
    until("stopped", lambda: state(first) == EXITED)
    print(status(first)[7], log(config, "first"))

    case("a pod stopped with what runs in it, and removed")
    call("StopPodSandbox", {1: pod})
    print(state(second) == EXITED, status(second)[7])
    call("RemovePodSandbox", {1: pod})
    until("nothing left", lambda: not left())

    case("five pods at once")
    with ThreadPoolExecutor() as pool:
        print(list(pool.map(whole_life, range(5))))
    until("nothing left", lambda: not left())


main()
