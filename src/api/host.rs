//! `Host`: a server as something to run commands on. What can be done with one is in `ssh/`.

use std::sync::Arc;

use rhai::{Engine, FuncRegistration};

use crate::provider::{Node, role};

/// A server in the hands of a script.
#[derive(Clone, Debug)]
pub struct Host(pub Arc<Node>);

impl From<Node> for Host {
    fn from(node: Node) -> Self {
        Host(Arc::new(node))
    }
}

/// A name, its documentation, and where the value comes from.
type Property = (&'static str, &'static str, fn(&Node) -> String);

/// Registers the type and its properties.
pub(super) fn register(engine: &mut Engine) {
    engine.register_type_with_name::<Host>("Host");
    let properties: [Property; 9] = [
        ("name", "The server's name.", |node| node.name.clone()),
        ("role", "The name without the number at its end.", |node| {
            role(&node.name).to_owned()
        }),
        ("provider", "Where the server comes from.", |node| {
            node.provider.clone()
        }),
        ("id", "The provider's identifier.", |node| node.id.clone()),
        ("size", "The size, in the provider's words.", |node| {
            node.size.clone()
        }),
        ("image", "The image, in the provider's words.", |node| {
            node.image.clone()
        }),
        ("region", "Where it is, in the provider's words.", |node| {
            node.region.clone()
        }),
        ("ip", "The address under which it is reached.", |node| {
            node.ip_text()
        }),
        ("internal_ip", "Its address among the others.", |node| {
            node.internal_ip_text()
        }),
    ];
    for (name, doc, get) in properties {
        FuncRegistration::new_getter(name)
            .with_comments([format!("/// {doc}")])
            .register_into_engine(engine, move |host: &mut Host| get(&host.0));
    }
    for name in ["to_string", "to_debug"] {
        FuncRegistration::new(name)
            .with_comments(["/// The server's name."])
            .register_into_engine(engine, |host: &mut Host| host.0.name.clone());
    }
    FuncRegistration::new("==").register_into_engine(engine, |a: Host, b: Host| {
        a.0.id == b.0.id && a.0.provider == b.0.provider
    });
}
