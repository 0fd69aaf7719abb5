//! Ports of running containers.

use rhai::{ImmutableString, Map};

use super::change_container;
use crate::{
    api::{
        Host,
        call::{Answer, Call},
        namespace::Namespace,
        value::to_options,
    },
    core::{
        diagnostic::{Diagnostic, Kind},
        value::{Fields, Value},
    },
    docker::{self, Port},
};

pub(super) fn register(docker: &mut Namespace) {
    docker.change(
        "bind(host: Host, name: string, port: string, options: map)",
        "Publishes a port of a running container, as `PORT[:PUBLIC][/PROTO]`. It stays published when
         the container, the engine or the server restarts, and is withdrawn when the container is
         removed. With `adopt: true`, also of a container that belongs to another project or was not
         created by hitc.",
        |call: &Call, host: Host, name: ImmutableString, port: ImmutableString, options: Map| {
            let (port, adopt) = (parse(call, &port)?, adopt(call, "docker.bind", &options)?);
            let verbs = ["bind a port of", "binding a port of", "is bound"];
            let name = &name;
            change_container(call, &host, name, verbs, |engine, owner| async move {
                docker::bind(&engine, name, port, &owner, adopt).await
            })
        },
    );
    docker.change(
        "unbind(host: Host, name: string, port: string, options: map)",
        "Withdraws a port that `docker::bind` published. The option is `adopt`.",
        |call: &Call, host: Host, name: ImmutableString, port: ImmutableString, options: Map| {
            let (port, adopt) = (parse(call, &port)?, adopt(call, "docker.unbind", &options)?);
            let verbs = ["unbind a port of", "unbinding a port of", "is unbound"];
            let name = &name;
            change_container(call, &host, name, verbs, |engine, owner| async move {
                docker::unbind(&engine, name, port, &owner, adopt).await
            })
        },
    );
}

fn parse(call: &Call, text: &str) -> Answer<Port> {
    let parsed = match text.parse::<Port>() {
        Ok(port) if port.address.is_some() => {
            Err("a port is bound on all addresses of the server".to_owned())
        }
        parsed => parsed,
    };
    call.check(parsed.map_err(|error| {
        Diagnostic::new(Kind::Usage, format!("port: {error}"))
            .help("write PORT[:PUBLIC][/udp]".to_owned())
    }))
}

fn adopt(call: &Call, what: &str, options: &Map) -> Answer<bool> {
    let options = to_options(options);
    call.check(Fields::new(&options, what).and_then(|mut fields| {
        let adopt = fields.decode("adopt", Value::to_bool)?;
        fields.finish()?;
        Ok(adopt.unwrap_or(false))
    }))
}
