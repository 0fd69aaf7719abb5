//! Properties of plans, for random manifests.

use proptest::prelude::*;

use super::{
    assert_matches_schema, bring_up,
    generate::{servers, text},
    load, plan, run, text_of,
    world::{Simulated, State},
};
use crate::ensemble::{
    Request,
    operation::{Kind, Operation},
    resource::ResourceName,
};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// After a manifest was brought up, its plan is empty, and the order of the YAML makes no
    /// difference.
    #[test]
    fn what_was_brought_up_is_up_to_date(servers in servers()) {
        let manifest = load(&text(&servers, false)).unwrap();
        let world = Simulated::new(State::default());
        run(bring_up(&world, &manifest, &Request::default())).unwrap();
        let before = world.state().changes;
        let shown = run(plan(&world, &manifest, &Request::default())).unwrap();
        prop_assert!(shown.is_empty(), "{}", text_of(&shown));
        let backwards = load(&text(&servers, true)).unwrap();
        let shown = run(plan(&world, &backwards, &Request::default())).unwrap();
        prop_assert!(shown.is_empty(), "{}", text_of(&shown));
        run(bring_up(&world, &backwards, &Request::default())).unwrap();
        prop_assert_eq!(world.state().changes, before);
    }

    /// From nothing, everything is created.
    #[test]
    fn what_does_not_exist_is_created(servers in servers()) {
        let manifest = load(&text(&servers, false)).unwrap();
        let world = Simulated::new(State::default());
        let plan = run(plan(&world, &manifest, &Request::default())).unwrap();
        let creates = |kind| {
            let kinds = [Kind::CreateServer, Kind::CreateContainer, Kind::ApplyFirewall];
            kinds.contains(&kind)
        };
        let kinds = plan.steps.iter().map(|step| step.operation.kind());
        let kinds: Vec<Kind> = kinds.filter(|kind| *kind != Kind::Barrier).collect();
        prop_assert!(kinds.iter().all(|kind| creates(*kind)));
        let firewalls = manifest.servers.iter().filter(|server| server.firewall.is_some());
        let resources: usize = servers.iter().map(|containers| 1 + containers.len()).sum();
        prop_assert_eq!(kinds.len(), resources + firewalls.count());
    }

    /// One edited field is one changed container; others at most may change because of it.
    #[test]
    fn an_edit_changes_what_it_names(
        servers in servers(),
        pick in any::<proptest::sample::Index>(),
    ) {
        let places: Vec<(usize, usize)> = servers
            .iter()
            .enumerate()
            .flat_map(|(server, containers)| (0..containers.len()).map(move |c| (server, c)))
            .collect();
        prop_assume!(!places.is_empty());
        let (server, index) = places[pick.index(places.len())];
        let world = Simulated::new(State::default());
        let manifest = load(&text(&servers, false)).unwrap();
        run(bring_up(&world, &manifest, &Request::default())).unwrap();
        let mut edited = servers.clone();
        edited[server][index].push("hostname: edited".to_owned());
        let manifest = load(&text(&edited, false)).unwrap();
        let plan = run(plan(&world, &manifest, &Request::default())).unwrap();
        let named = ResourceName::Container(format!("s{server}"), format!("c{index}"));
        let edits = plan.steps.iter().filter(|step| step.resource.as_ref() == Some(&named));
        prop_assert_eq!(edits.count(), 1);
        for step in &plan.steps {
            match &step.operation {
                Operation::ReplaceContainer { .. } => {
                    prop_assert_eq!(step.resource.as_ref(), Some(&named));
                    prop_assert_eq!(step.changes.len(), 1);
                    prop_assert_eq!(&step.changes[0].field, "hostname");
                }
                Operation::Deferred { .. } => prop_assert!(!step.after.is_empty()),
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }

    /// A plan is the same after it was written as JSON and read again, and its JSON follows the schema.
    #[test]
    fn a_plan_is_data(before in servers(), after in servers()) {
        let world = Simulated::new(State::default());
        let manifest = load(&text(&before, false)).unwrap();
        run(bring_up(&world, &manifest, &Request::default())).unwrap();
        let manifest = load(&text(&after, false)).unwrap();
        let request = Request { prune: true, ..Request::default() };
        let plan = run(plan(&world, &manifest, &request)).unwrap();
        let json = serde_json::to_string(&plan).unwrap();
        let again: crate::ensemble::Plan = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(serde_json::to_string(&again).unwrap(), json);
        prop_assert!(again.exceeds(&plan).is_empty());
        assert_matches_schema(&plan);
    }

    /// No text makes loading panic.
    #[test]
    fn no_manifest_panics(text in "[a-z:\\- \n{}\\[\\]\"$.&*]{0,80}") {
        let _ = load(&text);
    }
}
