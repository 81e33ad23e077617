// Starts a real Mesos 1.11.0 master, agent or containerizer helper out of the
// library that ships inside the PyPI package mesos.scheduler.
//
// That library holds all of Mesos but no main().  This file stands in for the
// mains: it forward-declares the Mesos classes it needs, so that the compiler
// makes the right symbol names, and lays out the few small types that cross the
// boundary.  It is built against no Mesos header and holds no Mesos code.
//
// Objects are built by placement-new into zeroed buffers that are larger than
// any of them and never freed: their true sizes are not known here, and each
// lives as long as the process.
//
// Which program this is, is decided by the name it was called by.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cxxabi.h>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <sys/stat.h>
#include <typeinfo>
#include <unistd.h>
#include <vector>

#undef unix  // a predefined macro, and the name of a namespace below

// ---- layouts: the types that are passed by value ----------------------------

struct Error { std::string message; };

template <typename T> class Option {
public:
  Option() : state(1) {}
  Option(const T& value) : state(0) { new (&t) T(value); }
  Option(const Option& other) : state(other.state) { if (!state) new (&t) T(other.t); }
  ~Option() { if (!state) t.~T(); }
  bool isNone() const { return state != 0; }

  int state;  // 0: some, 1: none
  union { T t; };
};

template <typename T, typename E = Error> class Try {
public:
  ~Try() {}
  Option<T> data;
  Option<E> error;
};

class Duration { public: int64_t nanos; };

// ---- declarations: only names and signatures matter -------------------------

namespace flags {
struct Warning { std::string message; };
struct Warnings { std::vector<Warning> warnings; };
class FlagsBase {
public:
  FlagsBase();
  Try<Warnings> load(const Option<std::string>& prefix, int argc,
                     const char* const* argv, bool unknowns, bool duplicates);
};
}

namespace zookeeper { struct Authentication { std::string scheme, credentials; }; }

namespace process {
class ProcessBase;
class RateLimiter;
struct UPID { char raw[512]; ~UPID(); };
template <typename T> class Owned { public: std::shared_ptr<void> data; };
bool initialize(const Option<std::string>&, const Option<std::string>&, const Option<std::string>&);
UPID spawn(ProcessBase*, bool);
bool wait(const UPID&, const Duration&);
namespace ID { std::string generate(const std::string&); }
namespace network {
namespace unix { class Address; }
namespace internal { template <typename A> class Socket { std::shared_ptr<void> impl; }; }
}
}

namespace mesos {
class Authorizer;
class SecretGenerator;
class SecretResolver { public: static Try<SecretResolver*> create(const Option<std::string>&); };
namespace allocator { class Allocator; }
namespace log {
class Log {
public:
  Log(int quorum, const std::string& path, const std::string& servers, const Duration& timeout,
      const std::string& znode, const Option<zookeeper::Authentication>&, bool autoInitialize,
      const Option<std::string>& metricsPrefix);
  void* p;
};
}
namespace state {
class State;
class LogStorage { public: LogStorage(log::Log*, size_t); void* p[8]; };
}
namespace slave {
class ResourceEstimator { public: static Try<ResourceEstimator*> create(const Option<std::string>&); };
class QoSController { public: static Try<QoSController*> create(const Option<std::string>&); };
}
namespace master {
namespace contender {
class MasterContender {
public:
  static Try<MasterContender*> create(const Option<std::string>&, const Option<std::string>&,
                                      const Option<Duration>&);
};
}
namespace detector {
class MasterDetector {
public:
  static Try<MasterDetector*> create(const Option<std::string>&, const Option<std::string>&,
                                     const Option<Duration>&);
};
}
}

namespace internal {
class VersionProcess { public: VersionProcess(); };
class PendingFutureTracker;
class Files { public: Files(const Option<std::string>&, const Option<Authorizer*>&); void* p[8]; };
namespace logging {
class Flags { public: Flags(); };
void initialize(const std::string&, bool, const Option<Flags>&);
}
namespace master {
class Flags { public: Flags(); };
class Registrar {
public:
  Registrar(const Flags&, state::State*, const Option<std::string>&);
  void* p[8];
};
class Master {
public:
  Master(mesos::allocator::Allocator*, Registrar*, Files*,
         mesos::master::contender::MasterContender*, mesos::master::detector::MasterDetector*,
         const Option<Authorizer*>&, const Option<std::shared_ptr<process::RateLimiter>>&,
         const Flags&);
};
namespace allocator {
class DRFSorter;
template <typename A, typename B> class HierarchicalAllocatorProcess;
template <typename P> class MesosAllocator { public: MesosAllocator(); };
typedef MesosAllocator<HierarchicalAllocatorProcess<DRFSorter, DRFSorter>> DRFAllocator;
}
}
namespace slave {
class Flags { public: Flags(); };
class VolumeGidManager;
class CSIServer;
class Fetcher { public: Fetcher(const Flags&); void* p[8]; };
class GarbageCollector { public: GarbageCollector(const std::string&); void* p[8]; };
class TaskStatusUpdateManager { public: TaskStatusUpdateManager(const Flags&); void* p[8]; };
class Containerizer {
public:
  static Try<Containerizer*> create(const Flags&, bool local, Fetcher*, GarbageCollector*,
                                    SecretResolver*, VolumeGidManager*, PendingFutureTracker*,
                                    CSIServer*);
};
class Slave {
public:
  Slave(const std::string&, const Flags&, mesos::master::detector::MasterDetector*, Containerizer*,
        Files*, GarbageCollector*, TaskStatusUpdateManager*, mesos::slave::ResourceEstimator*,
        mesos::slave::QoSController*, SecretGenerator*, VolumeGidManager*, PendingFutureTracker*,
        process::Owned<CSIServer>&&,
        const Option<process::network::internal::Socket<process::network::unix::Address>>&,
        const Option<Authorizer*>&);
};
class MesosContainerizerLaunch {
public:
  class Flags { public: Flags(); };
  int execute();
};
}
}
}

extern "C" {
extern char _ZTIN7process11ProcessBaseE[], _ZTIN5flags9FlagsBaseE[];
extern char _ZTVN5mesos5state8protobuf5StateE[];
extern char _ZTVN5mesos8internal5slave24MesosContainerizerLaunchE[];
}

// ---- small tools ------------------------------------------------------------

using std::string;
using namespace mesos::internal;
typedef Option<string> OptionalString;

static int argument_count;
static char** arguments;

[[noreturn]] static void die(const string& message) {
  fprintf(stderr, "real-mesos: %s\n", message.c_str());
  exit(1);
}

// A zeroed buffer, larger than any Mesos object that is built here.
static void* room(size_t bytes = 1 << 18) {
  void* p = calloc(1, bytes);
  if (!p) die("no memory");
  return p;
}

template <typename T, typename... A> static T* build(A&&... a) {
  return new (room()) T(std::forward<A>(a)...);
}

// Pointer to the (possibly virtual) base of `object` with the given type_info.
static void* base_of(void* object, void* type) {
  const std::type_info* own = ((const std::type_info***)object)[0][-1];
  void* base = object;
  if (!own->__do_upcast((const __cxxabiv1::__class_type_info*)type, &base))
    die(string("no such base in ") + own->name());
  return base;
}
static flags::FlagsBase* flags_of(void* object) {
  return (flags::FlagsBase*)base_of(object, _ZTIN5flags9FlagsBaseE);
}
static process::ProcessBase* process_of(void* object) {
  return (process::ProcessBase*)base_of(object, _ZTIN7process11ProcessBaseE);
}

template <typename T> static T must(const Try<T>& result, const char* what) {
  if (result.data.isNone())
    die(string(what) + ": " + (result.error.isNone() ? "unknown error" : result.error.t.message));
  return result.data.t;
}

// Fills a Mesos flags object from the command line and MESOS_* variables.
static void load(void* object, bool allow_unknown) {
  Try<flags::Warnings> result = flags_of(object)->load(
      OptionalString(string("MESOS_")), argument_count, arguments, allow_unknown, false);
  for (auto& warning : must(result, "flags").warnings)
    fprintf(stderr, "flag warning: %s\n", warning.message.c_str());
}

// --name=value of the command line, else MESOS_NAME: for the few flags that
// Mesos's own main() reads itself.
static OptionalString flag(const string& name) {
  string prefix = "--" + name + "=";
  for (int i = argument_count - 1; i > 0; i--)
    if (!strncmp(arguments[i], prefix.c_str(), prefix.size()))
      return OptionalString(string(arguments[i] + prefix.size()));
  string variable = "MESOS_";
  for (char c : name) variable += toupper(c);
  const char* value = getenv(variable.c_str());
  return value ? OptionalString(string(value)) : OptionalString();
}
static string flag(const string& name, const string& otherwise) {
  OptionalString value = flag(name);
  return value.isNone() ? otherwise : value.t;
}

static void make_folders(const string& path) {
  for (size_t i = 1; i <= path.size(); i++)
    if (i == path.size() || path[i] == '/') mkdir(path.substr(0, i).c_str(), 0755);
}

// "10secs", "500ms", "2mins".
static Duration parse_duration(const string& text) {
  char* end;
  double number = strtod(text.c_str(), &end);
  string unit = end;
  double nanos = unit == "ms" ? 1e6 : unit == "secs" ? 1e9 : unit == "mins" ? 60e9 : 0;
  if (nanos == 0) die("not a duration: " + text);
  return Duration{int64_t(number * nanos)};
}

static void start_logging() {
  char* buffer = (char*)room();  // an Option<logging::Flags> that is `some`
  auto* flags = new (buffer + 8) logging::Flags();
  load(flags, true);
  logging::initialize(arguments[0], true, *(Option<logging::Flags>*)buffer);
}

// Binds the HTTP server and starts libprocess.
static void start_process(const string& delegate, const string& kind, const string& port) {
  setenv("LIBPROCESS_IP", flag("ip", "127.0.0.1").c_str(), 1);
  setenv("LIBPROCESS_PORT", flag("port", port).c_str(), 1);
  process::initialize(OptionalString(delegate), OptionalString("mesos-" + kind + "-readwrite"),
                      OptionalString("mesos-" + kind + "-readonly"));
  process::spawn(process_of(build<VersionProcess>()), true);
}

// Runs until the master or agent process ends by itself.
[[noreturn]] static void run_to_end(void* object) {
  process::UPID id = process::spawn(process_of(object), false);
  process::wait(id, Duration{-1000000000});  // a negative wait has no end
  _exit(0);                                  // no destructors: nothing here was built to be destroyed
}

// ---- the programs -----------------------------------------------------------

static int run_master() {
  auto* flags = build<master::Flags>();
  load(flags, false);
  start_logging();
  start_process("master", "master", "5050");

  OptionalString zk = flag("zk"), none;
  string work = flag("work_dir", "");
  if (zk.isNone() || zk.t.compare(0, 5, "zk://") != 0) die("--zk=zk://HOST:PORT/PATH is needed");
  if (work.empty()) die("--work_dir is needed");
  make_folders(work);
  Option<Duration> session(parse_duration(flag("zk_session_timeout", "10secs")));
  string address = zk.t.substr(5);
  size_t slash = address.find('/');
  if (slash == string::npos) die("--zk needs a path");

  auto* log = build<mesos::log::Log>(
      atoi(flag("quorum", "1").c_str()), work + "/replicated_log", address.substr(0, slash),
      session.t, address.substr(slash) + "/log_replicas", Option<zookeeper::Authentication>(), true,
      OptionalString(string("registrar/")));
  auto* storage = build<mesos::state::LogStorage>(log, (size_t)0);
  // state::protobuf::State has no constructor of its own in the library: its
  // vtable and the pointer to the storage are all it consists of.
  void** state = (void**)room(256);
  state[0] = _ZTVN5mesos5state8protobuf5StateE + 16;
  state[1] = storage;

  OptionalString realm(string("mesos-master-readonly"));
  auto* registrar = build<master::Registrar>(*flags, (mesos::state::State*)state, realm);
  auto* contender =
      must(mesos::master::contender::MasterContender::create(zk, none, session), "contender");
  auto* detector =
      must(mesos::master::detector::MasterDetector::create(zk, none, session), "detector");
  auto* files = build<Files>(realm, Option<mesos::Authorizer*>());
  auto* allocator = build<master::allocator::DRFAllocator>();
  void* object = room(1 << 20);
  new (object) master::Master((mesos::allocator::Allocator*)allocator, registrar, files, contender,
                              detector, Option<mesos::Authorizer*>(),
                              Option<std::shared_ptr<process::RateLimiter>>(), *flags);
  run_to_end(object);
}

static int run_agent() {
  auto* flags = build<slave::Flags>();
  load(flags, false);
  string work = flag("work_dir", "");
  if (work.empty()) die("--work_dir is needed");
  make_folders(work);
  start_logging();
  string id = process::ID::generate("slave");
  start_process(id, "agent", "5051");

  OptionalString none;
  Option<Duration> session(parse_duration(flag("zk_session_timeout", "10secs")));
  auto* fetcher = build<slave::Fetcher>(*flags);
  auto* collector = build<slave::GarbageCollector>(work);
  auto* resolver = must(mesos::SecretResolver::create(none), "secret resolver");
  auto* containerizer = must(slave::Containerizer::create(*flags, false, fetcher, collector,
                                                          resolver, nullptr, nullptr, nullptr),
                             "containerizer");
  auto* detector =
      must(mesos::master::detector::MasterDetector::create(flag("master"), none, session), "detector");
  auto* files = build<Files>(OptionalString(string("mesos-agent-readonly")),
                             Option<mesos::Authorizer*>());
  auto* updates = build<slave::TaskStatusUpdateManager>(*flags);
  auto* estimator =
      must(mesos::slave::ResourceEstimator::create(flag("resource_estimator")), "estimator");
  auto* qos = must(mesos::slave::QoSController::create(flag("qos_controller")), "QoS controller");
  process::Owned<slave::CSIServer> csi;
  void* object = room(1 << 20);
  new (object) slave::Slave(
      id, *flags, detector, containerizer, files, collector, updates, estimator, qos, nullptr,
      nullptr, nullptr, std::move(csi),
      Option<process::network::internal::Socket<process::network::unix::Address>>(),
      Option<mesos::Authorizer*>());
  run_to_end(object);
}

// `mesos-containerizer launch --flag...`, which the agent starts per container.
// The sub-command object is laid out by hand: vtable, name, its empty flags at
// 0x28, the launch flags at 0xe0 (offsets read from its destructor's code).
static int run_containerizer() {
  if (argument_count < 2 || strcmp(arguments[1], "launch")) die("only 'launch' is provided");
  char* object = (char*)room();
  *(char**)object = _ZTVN5mesos8internal5slave24MesosContainerizerLaunchE + 16;
  new (object + 8) string("launch");
  new (object + 0x28) flags::FlagsBase();
  auto* flags = new (object + 0xe0) slave::MesosContainerizerLaunch::Flags();
  Try<flags::Warnings> result =
      flags_of(flags)->load(OptionalString(string("MESOS_CONTAINERIZER_")), argument_count - 1,
                            arguments + 1, false, false);
  must(result, "flags");
  return ((slave::MesosContainerizerLaunch*)object)->execute();
}

extern "C" int real_mesos_main(int argc, char** argv) {
  argument_count = argc;
  arguments = argv;
  string name = argv[0];
  name = name.substr(name.rfind('/') + 1);
  if (name == "mesos-master") return run_master();
  if (name == "mesos-agent") return run_agent();
  if (name == "mesos-containerizer") return run_containerizer();
  die("call me as mesos-master, mesos-agent or mesos-containerizer");
}
