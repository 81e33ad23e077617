//! What is remembered of the agents that the leading master lists.

use std::net::Ipv4Addr;

use super::world::{ROUND, World};
use crate::{
    State,
    document::{AgentRecord, ListingState},
    facts::Agent,
    plan::plan,
};

/// What the next round writes of h1's agents where the list has changed so.
fn rewritten(change: impl FnOnce(&mut Vec<Agent>)) -> Option<Vec<AgentRecord>> {
    let world = World::of_hosts(2);
    let mut facts = world.facts();
    change(&mut facts.mesos.as_mut().unwrap().registered);
    let state =
        State { hosts: &world.hosts, automation: &world.automation, inherited: &world.inherited };
    let plan = plan(&facts, state, &world.policy, &world.memory, world.clock());
    assert!(plan.changes.keys().all(|host| host.as_str() == "h1"));
    plan.changes.into_values().next().map(|change| change.document.agents)
}

/// The agent that the world has on h1.
fn only(agents: &mut [Agent]) -> &mut Agent {
    agents.iter_mut().find(|agent| agent.hostname == "h1").unwrap()
}

#[test]
fn an_agent_that_registers_anew_is_known_by_its_new_id() {
    let agents = rewritten(|agents| only(agents).id = "S99".into()).unwrap();
    assert_eq!(agents.iter().map(|it| it.id.as_str()).collect::<Vec<_>>(), ["S99"]);
}

#[test]
fn an_agent_with_another_attribute_is_known_by_it() {
    let rack = ("rack".to_owned(), "r99".to_owned());
    let agents = rewritten(|agents| only(agents).attributes = [rack].into_iter().collect());
    assert_eq!(agents.unwrap()[0].attributes.get("rack").map(String::as_str), Some("r99"));
}

#[test]
fn an_agent_at_another_address_is_known_by_it() {
    let moved = Some(Ipv4Addr::new(127, 0, 0, 9).into());
    let agents = rewritten(|agents| only(agents).ip = moved).unwrap();
    assert_eq!(agents[0].ip, moved);
}

#[test]
fn the_same_list_in_another_order_is_nothing_new() {
    assert_eq!(rewritten(|agents| agents.reverse()), None);
}

#[test]
fn two_agents_of_one_host_are_both_remembered_and_one_that_leaves_is_not() {
    let mut world = World::of_hosts(2);
    let facts_of_two = |world: &World| {
        let mut facts = world.facts();
        let agents = &mut facts.mesos.as_mut().unwrap().registered;
        let second = Agent { id: "S0".into(), ..only(agents).clone() };
        agents.push(second);
        facts
    };
    let round = |world: &mut World| {
        world.let_time_pass(ROUND);
        let state = State {
            hosts: &world.hosts,
            automation: &world.automation,
            inherited: &world.inherited,
        };
        let facts = facts_of_two(world);
        let plan = plan(&facts, state, &world.policy, &world.memory, world.clock());
        let changed = plan.changes.len();
        let documents = plan.changes.into_iter().map(|(host, change)| (host, change.document));
        world.hosts.extend(documents);
        world.memory = plan.memory;
        changed
    };
    assert_eq!(round(&mut world), 1);
    let agents = &world.document("h1").agents;
    assert!(agents.len() == 2 && agents.is_sorted_by_key(|it| &it.id), "{agents:?}");
    assert_eq!(round(&mut world), 0, "nothing has changed since");
    world.round(ROUND);
    assert_eq!(world.document("h1").agents.len(), 1);
    assert_eq!(world.document("h1").listing.state, ListingState::Registered);
}
