#!/usr/bin/python3
"""A small Mesos framework on the v1 HTTP scheduler API, steered through a
loopback HTTP port.  Standard library only.

  framework.py --masters IP:PORT,IP:PORT --control IP:PORT --executor PATH
               [--name N] [--role R] [--refuse SECONDS] [--checkpoint] [--not-partition-aware]

Control:
  GET  /status      {"framework_id", "master", "subscribed", "queued": [names], "tasks": {id: {...}}}
  GET  /offers      {host: {"count": offers seen, "last": unix seconds of the newest}}
  POST /launch      {"name": "t", "cpus": 0.1, "mem": 32, "disk": 64, "cmd": "sleep 1000",
                     "host": "node1.lab", "executor": "shared-1", "labels": {"a": "b"}}
                    all but the name may be left out; it runs from the next offer that fits
  POST /launch-group {"name": "pod", "host": "node1.lab", "tasks": [...]}
                    tasks as above, without host and executor, that run together: each in
                    a container of its own, nested in that of their executor `pod`
  POST /kill        {"id": "t"}
  POST /lose        {"count": 10}: launches so many tasks on an offer that does not exist;
                    the master calls them TASK_LOST (TASK_DROPPED if partition-aware)
  POST /teardown    {}: ends the framework and all its tasks

A task's id is its name.  With "executor", all tasks that name the same one share
a custom executor on their agent.  Every offer that no queued task wants is
declined for --refuse seconds, so an offered host shows in /offers again and again.
"""
import argparse
import base64
import http.client
import json
import os
import random
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

parser = argparse.ArgumentParser()
parser.add_argument("--masters", required=True)
parser.add_argument("--control", required=True)
parser.add_argument("--executor", required=True, help="the mesos-executor script, for custom executors")
parser.add_argument("--name", default="lab")
parser.add_argument("--role", default="*")
parser.add_argument("--refuse", type=float, default=1)
parser.add_argument("--failover", type=float, default=3600)
parser.add_argument("--checkpoint", action="store_true")
parser.add_argument("--not-partition-aware", action="store_true", help="get TASK_LOST instead of TASK_UNREACHABLE")
args = parser.parse_args()

# What a custom executor itself takes of an offer, besides its tasks.
EXECUTOR_CPUS, EXECUTOR_MEM, EXECUTOR_DISK = 0.1, 32.0, 32.0
# A subscription sends a heartbeat every 15 s; a longer silence is a dead master.
SUBSCRIPTION_TIMEOUT_SECONDS = 40

lock = threading.RLock()
framework_id = stream_id = None
subscribed = False
master = args.masters.split(",")[0]
queue = []
tasks = {}
offers = {}


def log(*words):
    print(time.strftime("%H:%M:%S"), *words, flush=True)


def call(body, timeout=30):
    host, port = master.rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=timeout)
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    if body["type"] != "SUBSCRIBE":
        headers["Mesos-Stream-Id"] = stream_id
    if framework_id:
        body["framework_id"] = {"value": framework_id}
    connection.request("POST", "/api/v1/scheduler", json.dumps(body), headers)
    answer = connection.getresponse()
    if body["type"] != "SUBSCRIBE":
        data = answer.read()
        if answer.status != 202:
            log(body["type"], answer.status, data[:200])
        connection.close()
    return connection, answer


def scalar(offer, name):
    return sum(
        r["scalar"]["value"]
        for r in offer.get("resources", [])
        if r["name"] == name and r["type"] == "SCALAR" and "reservations" not in r
    )


def resources(amounts):
    return [
        {"name": n, "type": "SCALAR", "scalar": {"value": v}, "allocation_info": {"role": args.role}, "role": "*"}
        for n, v in amounts
        if v
    ]


def task_info(task, offer):
    if task.get("executor"):
        name = task["executor"]
        run = {
            "executor": {
                "type": "CUSTOM",
                "executor_id": {"value": name},
                "name": name,
                "source": name,
                "framework_id": {"value": framework_id},
                "command": {"shell": True, "value": "exec " + args.executor + " --multi"},
                "resources": resources([("cpus", EXECUTOR_CPUS), ("mem", EXECUTOR_MEM)]),
            },
            "data": base64.b64encode(task["cmd"].encode()).decode(),
        }
    else:
        run = {"command": {"shell": True, "value": task["cmd"]}}
    if task.get("labels"):
        run["labels"] = {"labels": [{"key": k, "value": v} for k, v in task["labels"].items()]}
    return {
        "name": task["name"],
        "task_id": {"value": task["name"]},
        "agent_id": offer["agent_id"],
        "resources": resources([(n, task.get(n)) for n in ("cpus", "mem", "disk")]),
        **run,
    }


def group_info(pod, offer):
    executor = {
        "type": "DEFAULT",
        "executor_id": {"value": pod["name"]},
        "framework_id": {"value": framework_id},
        "resources": resources([("cpus", EXECUTOR_CPUS), ("mem", EXECUTOR_MEM), ("disk", EXECUTOR_DISK)]),
    }
    tasks = [task_info(task, offer) for task in pod["tasks"]]
    return {"type": "LAUNCH_GROUP", "launch_group": {"executor": executor, "task_group": {"tasks": tasks}}}


def on_offer(offer):
    host = offer["hostname"]
    cpus, mem, picked = scalar(offer, "cpus"), scalar(offer, "mem"), []
    with lock:
        seen = offers.setdefault(host, {"count": 0})
        seen["count"] += 1
        seen["last"] = time.time()
        for task in list(queue):
            fits = task["cpus"] + EXECUTOR_CPUS <= cpus and task["mem"] + EXECUTOR_MEM <= mem
            if task.get("host") in (None, host) and fits:
                cpus -= task["cpus"]
                mem -= task["mem"]
                queue.remove(task)
                picked.append(task)
                for each in task.get("tasks", [task]):
                    tasks[each["name"]] = {"host": host, "agent": offer["agent_id"]["value"], "state": "LAUNCHED", "history": []}
    filters = {"refuse_seconds": args.refuse}
    if not picked:
        call({"type": "DECLINE", "decline": {"offer_ids": [offer["id"]], "filters": filters}})
        return
    log("launch", [task["name"] for task in picked], "on", host)
    singles = [task_info(task, offer) for task in picked if "tasks" not in task]
    operations = [{"type": "LAUNCH", "launch": {"task_infos": singles}}] if singles else []
    operations += [group_info(pod, offer) for pod in picked if "tasks" in pod]
    call({"type": "ACCEPT", "accept": {"offer_ids": [offer["id"]], "filters": filters, "operations": operations}})


def on_update(status):
    task_id = status["task_id"]["value"]
    log("update", task_id, status["state"], status.get("source"), status.get("reason"), status.get("message"))
    with lock:
        task = tasks.setdefault(task_id, {"history": []})
        task["state"] = status["state"]
        task["history"].append({"state": status["state"], "reason": status.get("reason"), "time": time.time()})
    if status.get("uuid"):
        acknowledge = {"agent_id": status["agent_id"], "task_id": status["task_id"], "uuid": status["uuid"]}
        call({"type": "ACKNOWLEDGE", "acknowledge": acknowledge})


def on_event(event):
    global framework_id, subscribed
    kind = event["type"]
    if kind == "SUBSCRIBED":
        framework_id = event["subscribed"]["framework_id"]["value"]
        subscribed = True
        log("subscribed", framework_id, "at", master)
    elif kind == "OFFERS":
        for offer in event["offers"]["offers"]:
            on_offer(offer)
    elif kind == "UPDATE":
        on_update(event["update"]["status"])
    elif kind != "HEARTBEAT":
        log("event", json.dumps(event)[:600])


def records(stream):
    """The events of a RecordIO stream: a length in decimal, a newline, so many bytes."""
    while True:
        line = stream.readline()
        if not line:
            return
        left, data = int(line), b""
        while left:
            more = stream.read(left)
            if not more:
                return
            data, left = data + more, left - len(more)
        yield json.loads(data)


def subscribe_forever():
    global master, stream_id, subscribed
    masters, turn = args.masters.split(","), 0
    capabilities = [{"type": "MULTI_ROLE"}]
    if not args.not_partition_aware:
        capabilities.append({"type": "PARTITION_AWARE"})
    while True:
        info = {
            "user": "root",
            "name": args.name,
            "roles": [args.role],
            "failover_timeout": args.failover,
            "checkpoint": args.checkpoint,
            "capabilities": capabilities,
        }
        if framework_id:
            info["id"] = {"value": framework_id}
        try:
            body = {"type": "SUBSCRIBE", "subscribe": {"framework_info": info}}
            _, answer = call(body, timeout=SUBSCRIPTION_TIMEOUT_SECONDS)
            if answer.status == 307:
                master = answer.getheader("Location").split("//")[1].split("/")[0]
                log("redirected to", master)
                time.sleep(0.3)  # two masters may send us to each other during an election
                continue
            if answer.status == 200:
                stream_id = answer.getheader("Mesos-Stream-Id")
                for event in records(answer):
                    on_event(event)
                log("stream closed")
            else:
                log("subscribe", answer.status, answer.read()[:200])
        except (OSError, http.client.HTTPException) as error:
            log("connection:", error)
        subscribed = False
        turn += 1
        master = masters[turn % len(masters)]
        time.sleep(1)


def with_defaults(request):
    return {"cpus": 0.1, "mem": 32, "cmd": "sleep 10000", **request}


def launch(request):
    with lock:
        queue.append(with_defaults(request))
    call({"type": "REVIVE"})


def launch_group(request):
    group = [with_defaults(task) for task in request["tasks"]]
    needs = {need: sum(task[need] for task in group) for need in ("cpus", "mem")}
    with lock:
        queue.append({**request, "tasks": group, **needs})
    call({"type": "REVIVE"})


def kill(request):
    body = {"task_id": {"value": request["id"]}}
    agent = tasks.get(request["id"], {}).get("agent")
    if agent:
        body["agent_id"] = {"value": agent}
    call({"type": "KILL", "kill": body})


def lose(request):
    """What a framework does that acts on an offer after it was rescinded."""
    with lock:
        agents = [task["agent"] for task in tasks.values() if task.get("agent")]
    if not agents:
        raise OSError("no task has run yet, so no agent is known")
    offer = {"id": {"value": "no-such-offer"}, "agent_id": {"value": agents[0]}}
    lost = [{"name": "lost-%x" % random.getrandbits(64), "cmd": "true", "cpus": 0.1, "mem": 32} for _ in range(request["count"])]
    operation = {"type": "LAUNCH", "launch": {"task_infos": [task_info(task, offer) for task in lost]}}
    call({"type": "ACCEPT", "accept": {"offer_ids": [offer["id"]], "operations": [operation]}})


def teardown(_):
    call({"type": "TEARDOWN"})
    threading.Timer(0.2, os._exit, [0]).start()  # after the answer has gone out


class Control(BaseHTTPRequestHandler):
    posts = {
        "/launch": launch,
        "/launch-group": launch_group,
        "/kill": kill,
        "/lose": lose,
        "/teardown": teardown,
    }

    def log_message(self, *_):
        pass

    def answer(self, status, document):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        with lock:
            if self.path == "/offers":
                document = dict(offers)
            elif self.path == "/status":
                document = {
                    "framework_id": framework_id,
                    "master": master,
                    "subscribed": subscribed,
                    "queued": [task["name"] for task in queue],
                    "tasks": tasks,
                }
            else:
                return self.answer(404, {"error": "GET /status or /offers"})
            self.answer(200, document)

    def do_POST(self):
        action = self.posts.get(self.path)
        if not action:
            return self.answer(404, {"error": "POST " + ", ".join(self.posts)})
        request = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        try:
            action(request)
        except (OSError, http.client.HTTPException) as error:
            return self.answer(503, {"error": "the master did not take it: %s" % error})
        self.answer(200, {})


threading.Thread(target=subscribe_forever, daemon=True).start()
control_host, control_port = args.control.rsplit(":", 1)
ThreadingHTTPServer((control_host, int(control_port)), Control).serve_forever()
