//! `Host`: a server or container, as scripts see it. Its methods are in `ssh/`.

use std::sync::Arc;

use rhai::{Engine, FuncRegistration};

use crate::provider::Node;

/// A server or container, as scripts see it.
#[derive(Clone, Debug)]
pub struct Host(pub Arc<Node>);

impl From<Node> for Host {
    fn from(node: Node) -> Self {
        Host(Arc::new(node))
    }
}

/// A name, its documentation, and the function that gets its value.
type Property = (&'static str, &'static str, fn(&Node) -> String);

/// Registers the type and its properties.
pub(super) fn register(engine: &mut Engine) {
    engine.register_type_with_name::<Host>("Host");
    let properties: [Property; 9] = [
        (
            "name",
            "The host's name; `SERVER/CONTAINER` for a container.",
            |node| node.name.clone(),
        ),
        ("role", "The name without the trailing number.", |node| {
            node.role().to_owned()
        }),
        ("provider", "The provider of the server.", |node| {
            node.provider.clone()
        }),
        ("id", "The id at the provider.", |node| node.id.clone()),
        ("size", "The size, as the provider names it.", |node| {
            node.size.clone()
        }),
        ("image", "The image, as the provider names it.", |node| {
            node.image.clone()
        }),
        ("region", "The region, as the provider names it.", |node| {
            node.region.clone()
        }),
        ("ip", "The address that hitc connects to.", |node| {
            node.ip_text()
        }),
        (
            "internal_ip",
            "The address in the private network of the provider.",
            |node| node.internal_ip_text(),
        ),
    ];
    for (name, doc, get) in properties {
        FuncRegistration::new_getter(name)
            .with_comments([format!("/// {doc}")])
            .register_into_engine(engine, move |host: &mut Host| get(&host.0));
    }
    for name in ["to_string", "to_debug"] {
        FuncRegistration::new(name)
            .with_comments(["/// The host's name."])
            .register_into_engine(engine, |host: &mut Host| host.0.name.clone());
    }
    FuncRegistration::new("==").register_into_engine(engine, |a: Host, b: Host| {
        a.0.id == b.0.id && a.0.provider == b.0.provider
    });
}
