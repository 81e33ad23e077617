//! Addresses that go from one machine to another.

use super::world::World;

#[tokio::test]
async fn an_address_is_discovered_under_the_name_of_the_machine_that_has_it_now() {
    let world = World::new().await;
    world.peers.master.lists(&["a-former.lab"]);
    let remediator = world.start_ready().await;
    world.peers.master.lists(&["z-present.lab"]);
    remediator.rounds(2).await;
    let groups = remediator.get("/sd/exporters").await.json();
    let groups = groups.as_array().unwrap();
    let group = groups.iter().find(|it| it["targets"][0] == "10.0.0.1:9105").unwrap();
    assert_eq!(group["labels"]["__meta_mesos_hostname"], "z-present.lab");
    assert_eq!(group["labels"]["__meta_mesos_agent_state"], "registered");
}
