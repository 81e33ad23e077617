//! What the containers of an agent use, with the names that their tasks have.
//!
//! The list of containers is read first, since it decides whether the agent's state must
//! be asked for the [`Owners`] of those that are new. So a list is taken apart into numbers
//! by the catalogue at once, and gets its labels when the owners are known.

use std::{
    collections::{HashMap, HashSet},
    fmt::Write as _,
};

use satellite_mesos::wire::{
    agent_state::{AgentState, Executor, Framework, Label, Task},
    containers::{Blkio, Container, Disk, DiskSource, Numbers, Operation, Statistics},
};
use satellite_toolkit::exposition::{Family, Kind, Labels};

use crate::{
    catalogue::{self, Component, Entry, Naming},
    groups::{Group, Groups},
    label_rules::LabelRules,
    scrape::Wanted,
};

/// Who owns each container, read from an agent's `/state`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Owners {
    by_container: HashMap<String, Owner>,
}

/// What the labels of a container's series are made of. Empty where Mesos does not say.
#[derive(Clone, Debug, Default, PartialEq)]
struct Owner {
    container_id: String,
    framework_id: String,
    framework_name: String,
    executor_id: String,
    source: String,
    role: String,
    /// Name and id of the one task that owns the container; empty where there are several
    /// (or none yet), since picking one would credit it with what the others use.
    task_name: String,
    task_id: String,
    /// The labels of that task that the configuration allows.
    labels: Vec<(String, String)>,
    /// The same, for mesos_exporter's series of them.
    old_labels: Vec<(String, String)>,
    /// Whether its executor may get further tasks, or may have lost some.
    is_open: bool,
}

impl Owners {
    /// Joins on the ids of containers: of each running executor, and of those nested in it
    /// that run one of its tasks. `rules` choose the labels of tasks.
    pub(crate) fn read(state: &AgentState<'_>, rules: &LabelRules) -> Self {
        let mut by_container = HashMap::new();
        for framework in &state.frameworks {
            for executor in &framework.executors {
                let Some(container) = text(executor.container.as_ref()) else { continue };
                let unnamed = Owner::of(container, framework, executor);
                let tasks = || executor.tasks.iter().chain(&executor.queued_tasks);
                let nested = tasks().filter_map(|task| Some((task.container_id()?, task)));
                for (id, task) in nested.filter(|(id, _)| *id != container) {
                    let owner = Owner { container_id: id.to_owned(), ..unnamed.clone() };
                    by_container.insert(nested_in(container, id), owner.with(task, rules));
                }
                let mut tasks = tasks();
                let owner = match (tasks.next(), tasks.next()) {
                    (Some(only), None) => unnamed.with(only, rules),
                    _ => unnamed,
                };
                if let Some((framework, executor)) =
                    framework.id.as_deref().zip(executor.id.as_deref())
                {
                    by_container.insert(unidentified(framework, executor), owner.clone());
                }
                by_container.insert(container.to_owned(), owner);
            }
        }
        Self { by_container }
    }

    /// Whether the owner of this container is known.
    pub(crate) fn knows(&self, container: &str) -> bool {
        self.by_container.contains_key(container)
    }

    /// Whether the names of this container may become wrong by themselves.
    pub(crate) fn may_change(&self, container: &str) -> bool {
        self.by_container.get(container).is_some_and(|owner| owner.is_open)
    }
}

impl Owner {
    fn of(container_id: &str, framework: &Framework<'_>, executor: &Executor<'_>) -> Self {
        let role = text(executor.role.as_ref()).or_else(|| text(framework.role.as_ref()));
        Self {
            container_id: container_id.to_owned(),
            framework_id: owned(framework.id.as_ref()),
            framework_name: owned(framework.name.as_ref()),
            executor_id: owned(executor.id.as_ref()),
            source: owned(executor.source.as_ref()),
            role: role.unwrap_or_default().to_owned(),
            is_open: true,
            ..Self::default()
        }
    }

    /// Named after the one task that runs in its container.
    fn with(self, task: &Task<'_>, rules: &LabelRules) -> Self {
        let pairs = |label: &'_ Label<'_>| {
            let key = label.key.as_deref().map(str::to_owned)?;
            Some((key, label.value.as_deref().unwrap_or_default().to_owned()))
        };
        let labels: Vec<_> = task.labels.iter().filter_map(pairs).collect();
        let labels = labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        Self {
            task_name: owned(task.name.as_ref()),
            task_id: owned(task.id.as_ref()),
            role: text(task.role.as_ref()).map_or(self.role, str::to_owned),
            labels: rules.chosen(labels.clone(), &INFO_LABELS),
            old_labels: rules.chosen(labels, &OLD_LABELS),
            // A command task has its executor for itself, from the first to the last.
            is_open: text(task.executor_id.as_ref()).is_some(),
            ..self
        }
    }
}

/// How a container within another is called: its id is its own only there.
fn nested_in(parent: &str, id: &str) -> String {
    format!("{parent}.{id}")
}

/// How a container is called whose endpoint does not tell its id (`/monitor/statistics`):
/// by its framework and executor, which have one running container together.
fn unidentified(framework_id: &str, executor_id: &str) -> String {
    format!("{framework_id}/{executor_id}")
}

/// A list of containers, taken apart.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    containers: Vec<Identity>,
    columns: Columns,
}

/// What a container says of itself.
#[derive(Debug, Default)]
struct Identity {
    /// Its id, or how it is called in place of one.
    key: String,
    container_id: String,
    parent_container_id: String,
    framework_id: String,
    executor_id: String,
    source: String,
}

/// The numbers of all containers, by key.
#[derive(Debug, Default)]
struct Columns {
    all: Vec<Column>,
    /// Where the column of a key is.
    places: HashMap<String, usize>,
    /// Where the number is likely to belong that comes next: containers have much the same
    /// fields in the same order.
    next: usize,
}

/// All numbers under one key.
#[derive(Debug)]
struct Column {
    key: String,
    /// `None` for a field that the catalogue does not know.
    entry: Option<&'static Entry>,
    is_wanted: bool,
    cells: Vec<Cell>,
}

#[derive(Debug)]
struct Cell {
    /// Which of the containers.
    container: usize,
    value: f64,
    /// Labels of a part of the container, such as one of its disks.
    part: Labels,
}

impl Listing {
    /// Takes the numbers that are wanted out of a list of containers. One that cannot be
    /// told from another is left out, and so is one that comes again.
    pub(crate) fn read(containers: &[Container<'_>], wanted: Groups) -> Self {
        let mut listing = Self::default();
        let mut seen = HashSet::new();
        for container in containers {
            let Some(identity) = Identity::of(container) else { continue };
            if !seen.insert(identity.key.clone()) {
                continue;
            }
            let at = listing.containers.len();
            listing.containers.push(identity);
            if let Some(statistics) = &container.statistics {
                Reader {
                    columns: &mut listing.columns,
                    container: at,
                    wanted,
                    path: String::new(),
                }
                .statistics(statistics);
            }
        }
        listing
    }

    /// What the containers are called where owners are looked up.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.containers.iter().map(|container| container.key.as_str())
    }

    /// The series of every container.
    pub(crate) fn families(&self, owners: &Owners, wanted: Wanted) -> Vec<Family> {
        let nobody = Owner::default();
        let owner = |identity: &Identity| owners.by_container.get(&identity.key).unwrap_or(&nobody);
        let labels = |identity| identity_labels(identity, owner(identity), wanted.naming);
        // A series that comes twice fails a scrape, so the first of a kind is told alone.
        let mut seen = HashSet::new();
        let first = |labels: Option<Labels>| labels.filter(|labels| seen.insert(labels.clone()));
        let labels: Vec<Option<Labels>> = self.containers.iter().map(labels).map(first).collect();
        let columns = self.columns.all.iter();
        let mut families: Vec<Family> =
            columns.flat_map(|column| column.families(&labels, wanted.naming)).collect();
        if wanted.groups.has(Group::Containers) {
            let told = self.containers.iter().zip(&labels).filter(|(_, labels)| labels.is_some());
            let told = told.map(|(identity, _)| (identity, owner(identity)));
            families.push(match wanted.naming {
                Naming::Native => infos(told),
                Naming::MesosExporter => old_task_labels(told),
            });
        }
        families
    }
}

impl Identity {
    fn of(container: &Container<'_>) -> Option<Self> {
        let container_id = owned(container.container_id.as_ref());
        let framework_id = owned(container.framework_id.as_ref());
        let executor_id = owned(container.executor_id.as_ref());
        let parent_container_id = owned(container.parent_container_id.as_ref());
        let key = if !container_id.is_empty() && !parent_container_id.is_empty() {
            nested_in(&parent_container_id, &container_id)
        } else if !container_id.is_empty() {
            container_id.clone()
        } else if !framework_id.is_empty() && !executor_id.is_empty() {
            unidentified(&framework_id, &executor_id)
        } else {
            return None;
        };
        let source = owned(container.source.as_ref());
        Some(Self { key, container_id, parent_container_id, framework_id, executor_id, source })
    }

    /// What it says of itself, or what its owner says where its endpoint leaves that out.
    fn container_id<'a>(&'a self, owner: &'a Owner) -> &'a str {
        if self.container_id.is_empty() { &owner.container_id } else { &self.container_id }
    }

    fn framework_id<'a>(&'a self, owner: &'a Owner) -> &'a str {
        if self.framework_id.is_empty() { &owner.framework_id } else { &self.framework_id }
    }

    fn executor_id<'a>(&'a self, owner: &'a Owner) -> &'a str {
        if self.executor_id.is_empty() { &owner.executor_id } else { &self.executor_id }
    }

    fn source<'a>(&'a self, owner: &'a Owner) -> &'a str {
        if self.source.is_empty() { &owner.source } else { &self.source }
    }
}

/// What tells a container's series apart from others'; `None` where nothing does: where
/// the container's id is not yet known, and for mesos_exporter where it is not an
/// executor's.
fn identity_labels(identity: &Identity, owner: &Owner, naming: Naming) -> Option<Labels> {
    match naming {
        Naming::Native => {
            let container_id = Some(identity.container_id(owner)).filter(|id| !id.is_empty())?;
            let names = ["container_id", "framework_name", "task_name"];
            Some(Labels::fixed(names, [container_id, &owner.framework_name, &owner.task_name]))
        }
        Naming::MesosExporter if identity.executor_id.is_empty() => None,
        Naming::MesosExporter => Some(Labels::fixed(
            ["id", "framework_id", "source"],
            [&identity.executor_id, &identity.framework_id, identity.source(owner)],
        )),
    }
}

/// The labels of `mesos_container_info` beside those of tasks.
const INFO_LABELS: [&str; 9] = [
    "container_id",
    "framework_id",
    "framework_name",
    "executor_id",
    "task_id",
    "task_name",
    "role",
    "source",
    "parent_container_id",
];

/// `mesos_container_info`: all that is known of who runs in each container.
fn infos<'a>(containers: impl Iterator<Item = (&'a Identity, &'a Owner)>) -> Family {
    let mut family = catalogue::known(Component::Container, "").native().family();
    for (identity, owner) in containers {
        let values = [
            identity.container_id(owner),
            identity.framework_id(owner),
            &owner.framework_name,
            identity.executor_id(owner),
            &owner.task_id,
            &owner.task_name,
            &owner.role,
            identity.source(owner),
            &identity.parent_container_id,
        ];
        let chosen = Labels::new(owner.labels.iter().map(pair));
        family.push(Labels::fixed(INFO_LABELS, values).and(&chosen), 1.0);
    }
    family
}

/// The labels of mesos_exporter's series of a task's labels beside those.
const OLD_LABELS: [&str; 5] = ["source", "framework_id", "executor_id", "task_id", "task_name"];

/// mesos_exporter's family of the labels of tasks. It knows those of executors' containers.
fn old_task_labels<'a>(containers: impl Iterator<Item = (&'a Identity, &'a Owner)>) -> Family {
    let help = "mesos_exporter's name for the chosen labels of a task.";
    let mut family = Family::new("mesos_slave_task_labels", help, Kind::Unknown);
    let is_known = |(identity, owner): &(&Identity, &Owner)| {
        !owner.task_id.is_empty() && !identity.executor_id.is_empty()
    };
    for (identity, owner) in containers.filter(is_known) {
        let values = [
            identity.source(owner),
            identity.framework_id(owner),
            &identity.executor_id,
            &owner.task_id,
            &owner.task_name,
        ];
        let chosen = Labels::new(owner.old_labels.iter().map(pair));
        family.push(Labels::fixed(OLD_LABELS, values).and(&chosen), 1.0);
    }
    family
}

fn pair((name, value): &(String, String)) -> (&str, &str) {
    (name, value)
}

impl Columns {
    /// The column of a key; a new one if it is the first number under that.
    fn of(&mut self, key: &str, wanted: Groups) -> &mut Column {
        let Self { all, places, next } = self;
        let is_next = all.get(*next).is_some_and(|column| column.key == key);
        let place = if is_next {
            *next
        } else if let Some(place) = places.get(key) {
            *place
        } else {
            places.insert(key.to_owned(), all.len());
            all.push(Column::new(key, wanted));
            all.len() - 1
        };
        *next = place + 1;
        &mut all[place]
    }
}

impl Column {
    fn new(key: &str, wanted: Groups) -> Self {
        let entry = catalogue::find(Component::Container, key);
        let group = entry.map_or(Group::Containers, |entry| entry.group);
        Self { key: key.to_owned(), entry, is_wanted: wanted.has(group), cells: Vec::new() }
    }

    /// The families of its names. A field that the catalogue does not know goes out raw,
    /// under its own name as a label.
    fn families(&self, labels: &[Option<Labels>], naming: Naming) -> Vec<Family> {
        match self.entry {
            Some(entry) => {
                let names = entry.names(naming).iter();
                names
                    .map(|name| self.filled(name.family(), labels, |value| name.convert(value)))
                    .collect()
            }
            None if naming == Naming::Native => {
                let help = "A number of a container that has no name here yet, as it came.";
                let family = Family::new("mesos_container_unknown_field", help, Kind::Unknown)
                    .labelled(Labels::new([("field", &self.key)]));
                vec![self.filled(family, labels, |value| value)]
            }
            // mesos_exporter knows no such thing.
            None => Vec::new(),
        }
    }

    /// This family with its numbers. Of parts of a container that are called the same, such
    /// as two disks without a name, the first is taken.
    fn filled(
        &self,
        mut family: Family,
        labels: &[Option<Labels>],
        convert: impl Fn(f64) -> f64,
    ) -> Family {
        family.samples.reserve_exact(self.cells.len());
        for of_one in self.cells.chunk_by(|one, other| one.container == other.container) {
            let Some(labels) = &labels[of_one[0].container] else { continue };
            let mut seen = HashSet::new();
            for cell in of_one {
                if of_one.len() == 1 || seen.insert(&cell.part) {
                    family.push(labels.and(&cell.part), convert(cell.value));
                }
            }
        }
        family
    }
}

/// Puts the numbers of one container into columns.
struct Reader<'a> {
    columns: &'a mut Columns,
    container: usize,
    wanted: Groups,
    /// The key under way, kept so that one text serves for all.
    path: String,
}

impl Reader<'_> {
    fn statistics(&mut self, statistics: &Statistics<'_>) {
        let whole = Labels::default();
        for (key, value) in &statistics.numbers {
            self.add(key, *value, &whole);
        }
        if self.wanted.has(Group::Volumes) {
            statistics.disks.iter().for_each(|disk| self.disk(disk));
        }
        if self.wanted.has(Group::Blkio) {
            for (policy, devices) in &statistics.blkio {
                let is_total = |device: &Blkio<'_>| device.device.is_none() && devices.len() > 1;
                // What is about all devices is their sum, and would be counted twice.
                devices
                    .iter()
                    .filter(|device| !is_total(device))
                    .for_each(|it| self.blkio(policy, it));
            }
        }
        if self.wanted.has(Group::Perf) {
            self.all("perf", &statistics.perf, &whole);
        }
        if self.wanted.has(Group::TrafficControl) {
            for queue in &statistics.traffic_control {
                let queue_id = Labels::fixed(["id"], [queue.id.as_deref().unwrap_or_default()]);
                self.all("net_traffic_control_statistics[]", &queue.numbers, &queue_id);
            }
        }
        if self.wanted.has(Group::Snmp) {
            for (protocol, numbers) in &statistics.snmp {
                self.all(&format!("net_snmp_statistics.{protocol}"), numbers, &whole);
            }
        }
    }

    fn disk(&mut self, disk: &Disk<'_>) {
        let id = disk.persistence.as_ref().and_then(|it| it.id.as_deref()).unwrap_or_default();
        let source = disk.source.as_ref().map(DiskSource::name).unwrap_or_default();
        let volume = Labels::fixed(["source", "persistence_id"], [source, id]);
        for (field, value) in [("limit_bytes", disk.limit_bytes), ("used_bytes", disk.used_bytes)] {
            let Some(value) = value else { continue };
            self.add_at(format_args!("disk_statistics[].{field}"), value, &volume);
        }
    }

    fn blkio(&mut self, policy: &str, blkio: &Blkio<'_>) {
        let device =
            blkio.device.map_or(String::new(), |(major, minor)| format!("{major}:{minor}"));
        let device = Labels::fixed(["device"], [&device]);
        self.all(&format!("blkio_statistics.{policy}[]"), &blkio.numbers, &device);
        for (list, operations) in &blkio.operations {
            for Operation { op, value, .. } in operations {
                let (Some(op), Some(value)) = (op, value) else { continue };
                if op == "TOTAL" {
                    let key = format_args!("blkio_statistics.{policy}[].{list}[TOTAL]");
                    self.add_at(key, *value, &device);
                } else {
                    let key = format_args!("blkio_statistics.{policy}[].{list}[<operation>]");
                    let operation = Labels::fixed(["operation"], [&op.to_ascii_lowercase()]);
                    self.add_at(key, *value, &device.and(&operation));
                }
            }
        }
    }

    fn all(&mut self, path: &str, numbers: &Numbers<'_>, part: &Labels) {
        for (field, value) in numbers {
            self.add_at(format_args!("{path}.{field}"), *value, part);
        }
    }

    fn add_at(&mut self, key: std::fmt::Arguments<'_>, value: f64, part: &Labels) {
        let mut path = std::mem::take(&mut self.path);
        path.clear();
        path.write_fmt(key).expect("writing to a string does not fail");
        self.add(&path, value, part);
        self.path = path;
    }

    fn add(&mut self, key: &str, value: f64, part: &Labels) {
        let column = self.columns.of(key, self.wanted);
        if column.is_wanted {
            column.cells.push(Cell { container: self.container, value, part: part.clone() });
        }
    }
}

fn text<'a>(field: Option<&'a std::borrow::Cow<'_, str>>) -> Option<&'a str> {
    field.map(AsRef::as_ref).filter(|text| !text.is_empty())
}

fn owned(field: Option<&std::borrow::Cow<'_, str>>) -> String {
    text(field).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::families::lines;
    use satellite_mesos::wire::{
        agent_state::parse_agent_state,
        containers::{parse_containers, parse_get_containers},
    };

    const STATE: &str = r#"{"frameworks":[{"id":"f","name":"batch","role":"eng","executors":[
        {"id":"t1","container":"c1","source":"s1","tasks":[{"id":"t1","name":"web","executor_id":"",
            "role":"eng/web","labels":[{"key":"env","value":"prod"},{"key":"other","value":"x"}]}]},
        {"id":"e2","container":"c2","tasks":[
            {"id":"t2","name":"a","executor_id":"e2","statuses":[{"container_status":{}},
                {"container_status":{"container_id":{"value":"n2","parent":{"value":"c2"}}}}]},
            {"id":"t3","name":"b","executor_id":"e2"}]},
        {"id":"e3","container":"c3","tasks":[],"queued_tasks":[{"id":"t4","name":"q","executor_id":"e3"}]}]}]}"#;

    fn owners() -> Owners {
        Owners::read(&parse_agent_state(STATE.as_bytes()).unwrap(), &LabelRules::exact(["env"]))
    }

    fn wanted(naming: Naming) -> Wanted {
        Wanted { groups: Groups::defaults(), naming }
    }

    fn listed(body: &str, naming: Naming) -> Vec<String> {
        let wanted = wanted(naming);
        let containers = parse_containers(body.as_bytes()).unwrap();
        lines(Listing::read(&containers, wanted.groups).families(&owners(), wanted))
    }

    /// The lines of one name.
    fn of(name: &str, lines: Vec<String>) -> Vec<String> {
        let start = format!("{name}{{");
        lines.into_iter().filter_map(|line| Some(line.strip_prefix(&start)?.to_owned())).collect()
    }

    fn with_statistics(statistics: &str) -> String {
        let all = ["c1", "c2", "c3", "c9"].map(|id| {
            format!(r#"{{"container_id":"{id}","framework_id":"f","executor_id":"e","statistics":{statistics}}}"#)
        });
        format!("[{},{{}},7,{}]", all.join(","), all[0])
    }

    #[test]
    fn only_a_container_of_exactly_one_task_bears_its_name() {
        let lines = listed(&with_statistics(r#"{"mem_rss_bytes":5}"#), Naming::Native);
        assert_eq!(
            of("mesos_container_mem_rss_bytes", lines),
            [
                r#"container_id="c1",framework_name="batch",task_name="web"} 5"#,
                r#"container_id="c2",framework_name="batch",task_name=""} 5"#,
                r#"container_id="c3",framework_name="batch",task_name="q"} 5"#,
                r#"container_id="c9",framework_name="",task_name=""} 5"#,
            ]
        );
    }

    #[test]
    fn what_a_containerizer_does_not_report_is_absent() {
        for statistics in ["null", "{}", r#"{"mem_rss_bytes":null,"cpus_limit":"1"}"#] {
            let lines = listed(&with_statistics(statistics), Naming::Native);
            assert_eq!(lines.len(), 4, "{lines:?}");
            assert_eq!(of("mesos_container_info", lines).len(), 4);
        }
    }

    #[test]
    fn the_info_has_the_nearest_role_and_the_labels_that_are_chosen() {
        let infos = of("mesos_container_info", listed(&with_statistics("{}"), Naming::Native));
        assert!(
            infos[0].contains(r#"role="eng/web""#) && infos[0].contains(r#"env="prod""#),
            "{infos:?}"
        );
        assert!(!infos[0].contains("other"), "{infos:?}");
        assert!(infos[1].contains(r#"role="eng""#), "{infos:?}");
        assert!(infos[3].contains(r#"role="""#), "{infos:?}");
    }

    #[test]
    fn a_nested_container_is_its_task_s_and_names_its_parent() {
        let body = r#"{"get_containers":{"containers":[{"container_id":{"value":"n2"},
            "container_status":{"container_id":{"value":"n2","parent":{"value":"c2"}}},
            "resource_statistics":{"mem_rss_bytes":1}}]}}"#;
        let containers = parse_get_containers(body.as_bytes()).unwrap();
        let families = |naming| {
            let wanted = wanted(naming);
            lines(Listing::read(&containers, wanted.groups).families(&owners(), wanted))
        };
        let native = families(Naming::Native);
        let rss = of("mesos_container_mem_rss_bytes", native.clone());
        assert_eq!(rss, [r#"container_id="n2",framework_name="batch",task_name="a"} 1"#]);
        let info = of("mesos_container_info", native).remove(0);
        // Mesos says none of these of a nested container; its owner is found in the state.
        assert!(info.contains(r#"framework_id="f",framework_name="batch""#), "{info}");
        assert!(info.contains(r#"executor_id="e2",task_id="t2""#), "{info}");
        assert!(info.contains(r#"parent_container_id="c2""#), "{info}");
        // mesos_exporter knows executors' containers only.
        assert_eq!(of("mesos_agent_mem_rss_bytes", families(Naming::MesosExporter)), [""; 0]);
    }

    #[test]
    fn a_list_without_ids_gets_them_from_the_owners() {
        let entry = |executor| {
            format!(
                r#"{{"executor_id":"{executor}","framework_id":"f","source":"s","statistics":{{"threads":2}}}}"#
            )
        };
        let body = format!("[{},{}]", entry("t1"), entry("unheard of"));
        let native = of("mesos_container_threads", listed(&body, Naming::Native));
        assert_eq!(native, [r#"container_id="c1",framework_name="batch",task_name="web"} 2"#]);
        let old = of("mesos_agent_threads", listed(&body, Naming::MesosExporter));
        let labels = |id| format!(r#"id="{id}",framework_id="f",source="s"}} 2"#);
        assert_eq!(old, [labels("t1"), labels("unheard of")]);
    }

    #[test]
    fn parts_of_a_container_have_labels_of_their_own() {
        let statistics = r#"{"disk_statistics":[{"used_bytes":1},{"persistence":{"id":"v"},
                "source":{"type":"MOUNT","mount":{"root":"/data"}},"limit_bytes":2}],
            "blkio_statistics":{"throttling":[{"io_serviced":[{"op":"TOTAL","value":9}]},
                {"device":{"major_number":8,"minor_number":0},"io_serviced":
                [{"op":"TOTAL","value":3},{"op":"READ","value":2},{"op":"X"},{"value":1}]}]},
            "perf":{"cycles":1},"net_snmp_statistics":{"tcp_stats":{"CurrEstab":1}},"new_bytes":4}"#;
        let body = format!(r#"[{{"container_id":"c","statistics":{statistics}}}]"#);
        let lines = listed(&body, Naming::Native);
        let all = |name| of(name, lines.clone());
        let own = r#"container_id="c",framework_name="",task_name="""#;
        assert_eq!(
            all("mesos_container_volume_used_bytes"),
            [format!(r#"{own},source="",persistence_id=""}} 1"#)]
        );
        assert_eq!(
            all("mesos_container_volume_limit_bytes"),
            [format!(r#"{own},source="/data",persistence_id="v"}} 2"#)]
        );
        assert_eq!(
            all("mesos_container_blkio_throttling_io_serviced_total"),
            [format!(r#"{own},device="8:0"}} 3"#)]
        );
        assert_eq!(
            all("mesos_container_blkio_throttling_io_serviced_by_operation_total"),
            [format!(r#"{own},device="8:0",operation="read"}} 2"#)]
        );
        assert_eq!(
            all("mesos_container_unknown_field"),
            [format!(r#"{own},field="new_bytes"}} 4"#)]
        );
        // The groups of the others are off.
        assert_eq!(lines.len(), 6, "{lines:?}");
    }

    #[test]
    fn every_field_of_the_catalogue_can_be_reached() {
        // Groups that are off are read when they are on.
        let body = br#"[{"container_id":"c","statistics":{"perf":{"cycles":1},
            "net_tcp_rtt_microsecs_p50":2,"net_traffic_control_statistics":[{"id":"q","drops":3}],
            "net_snmp_statistics":{"tcp_stats":{"CurrEstab":4}}}}]"#;
        let groups = crate::groups::GROUPS.iter().map(|it| it.group).collect();
        let wanted = Wanted { groups, naming: Naming::Native };
        let listing = Listing::read(&parse_containers(body).unwrap(), groups);
        let lines = lines(listing.families(&Owners::default(), wanted)).join("\n");
        for expected in [
            "mesos_container_perf_cycles{",
            "percentile=\"p50\"} 2e-6",
            "id=\"q\"} 3",
            "mesos_container_net_snmp_tcp_curr_estab{",
        ] {
            assert!(lines.contains(expected), "{expected}: {lines}");
        }
    }

    #[test]
    fn no_series_comes_twice_however_odd_the_list() {
        let numbers = r#""statistics":{"threads":1,
            "disk_statistics":[{"persistence":{"id":"v"},"used_bytes":1},{"persistence":{"id":"v"},"used_bytes":2}],
            "blkio_statistics":{"throttling":[{"io_serviced":[{"op":"READ","value":1},{"op":"Read","value":2}]}]}}"#;
        let container = |id: &str, executor: &str| {
            format!(
                r#"{{"container_id":{id},"framework_id":"f","executor_id":"{executor}",{numbers}}}"#
            )
        };
        let all = [("\"c1\"", "t1"), ("7", "t1"), ("\"c8\"", "t1"), ("\"c1\"", "x")];
        let body = format!("[{}]", all.map(|(id, executor)| container(id, executor)).join(","));
        for naming in [Naming::Native, Naming::MesosExporter] {
            let lines = listed(&body, naming);
            let mut series: Vec<_> =
                lines.iter().map(|line| line.rsplit_once(' ').unwrap().0).collect();
            let all = series.len();
            series.dedup();
            assert_eq!(series.len(), all, "{lines:#?}");
        }
    }

    #[test]
    fn nested_containers_of_one_id_are_their_own_parents() {
        let nested = |parent: &str| {
            format!(
                r#"{{"container_id":{{"value":"n2"}},"container_status":{{"container_id":
                {{"value":"n2","parent":{{"value":"{parent}"}}}}}},"resource_statistics":{{}}}}"#
            )
        };
        let body =
            format!(r#"{{"get_containers":{{"containers":[{},{}]}}}}"#, nested("c3"), nested("c2"));
        let wanted = wanted(Naming::Native);
        let containers = parse_get_containers(body.as_bytes()).unwrap();
        let infos = lines(Listing::read(&containers, wanted.groups).families(&owners(), wanted));
        assert!(
            infos
                .iter()
                .any(|it| it.contains(r#"task_id="t2""#)
                    && it.contains(r#"parent_container_id="c2""#))
        );
        assert!(
            infos.iter().any(
                |it| it.contains(r#"task_id="""#) && it.contains(r#"parent_container_id="c3""#)
            )
        );
    }
}
