//! Terminals in containers, and their folders.

use rhai::{ImmutableString, Map};

use crate::{
    api::{
        Host,
        call::{Answer, Call},
        namespace::Namespace,
        ssh::command::check,
        value::to_options,
    },
    core::{
        diagnostic::Diagnostic,
        process::{Exit, Output},
        value::{Fields, Value},
    },
    docker::Account,
    ssh::Command,
};

/// The user and the password of [`Account`] if they are not given.
const DEFAULT: &str = "root";

pub(super) fn register(docker: &mut Namespace) {
    docker.change(
        "shell(host: Host, name: string, options: map)",
        "Opens an interactive shell in a container in this terminal. If an SSH server listens in the
         container, the `ssh` program logs in to it with the options `user` and `password` (`root`
         by default). Its host key is not checked, because each new container has another one. If
         none listens, the engine runs the shell of the image as the option `user`. Throws if the
         shell ends with a status other than 0.",
        |call: &Call, host: Host, name: ImmutableString, options: Map| {
            let (account, user) = call.check(account(call, &options))?;
            let what = || format!("open a shell in container {name} on {}", host.0.name);
            let shell = async {
                let node = call.inventory.container(&host.0, &name).await?;
                let inside = call.inventory.inside_of(&node).await?;
                let (output, line) = if inside.has_sshd().await {
                    let text = "the host key of the SSH server in the container is not checked";
                    call.context.events.note(text);
                    (ended(inside.ssh(&account).await?), "ssh")
                } else {
                    (inside.shell(user).await?, "shell")
                };
                check(&output, line, Some(&node.name))
            };
            call.change(what, shell).map(drop)
        },
    );
    docker.change(
        "terminal(host: Host, name: string, command: string)",
        "Runs a command in a container on this terminal: each key goes to the command. Throws if it
         fails.",
        |call: &Call, host: Host, name: ImmutableString, command: ImmutableString| {
            let what = || format!("run `{command}` in container {name} on {}", host.0.name);
            let running = async {
                let node = call.inventory.container(&host.0, &name).await?;
                let inside = call.inventory.inside_of(&node).await?;
                let output = inside.terminal(&Command::new(command.as_str())).await?;
                check(&output, &command, Some(&node.name))
            };
            call.change(what, running).map(drop)
        },
    );
    docker.change(
        "sshfs(host: Host, name: string, from: string, to: string, options: map)",
        "Mounts a folder of a container at a folder of the project with the `sshfs` program, until
         Ctrl-C. An SSH server must listen in the container; the options are `user` and `password`
         (`root` by default).",
        |call: &Call,
         host: Host,
         name: ImmutableString,
         from: ImmutableString,
         to: ImmutableString,
         options: Map| { mount(call, &host, &name, [&from, &to], &options) },
    );
}

fn mount(call: &Call, host: &Host, name: &str, [from, to]: [&str; 2], options: &Map) -> Answer<()> {
    let (account, _) = call.check(account(call, options))?;
    let folder = call.context.project.root.join(to);
    let what = || {
        format!(
            "mount {from} of container {name} on {} at {to}",
            host.0.name
        )
    };
    let mounting = async {
        let node = call.inventory.container(&host.0, name).await?;
        let inside = call.inventory.inside_of(&node).await?;
        let text = format!("mounting {from} of {} at {to}; stop with Ctrl-C", node.name);
        call.context.events.note(text);
        inside.sshfs(&account, from, &folder).await?;
        Ok::<_, Diagnostic>(())
    };
    call.change(what, mounting).map(drop)
}

/// The account for an SSH server, and the user if one is given.
fn account(call: &Call, options: &Map) -> Result<(Account, Option<String>), Diagnostic> {
    let options = to_options(options);
    let mut fields = Fields::new(&options, "docker.ssh")?;
    let user = fields.decode("user", Value::to_text)?;
    let password = fields.decode("password", Value::to_text_or_secret)?;
    fields.finish()?;
    let user = user.filter(|user| !user.is_empty());
    let account = Account {
        user: user.clone().unwrap_or_else(|| DEFAULT.to_owned()),
        password: password.unwrap_or_else(|| DEFAULT.to_owned()),
    };
    if account.password != DEFAULT {
        call.context.events.hide(&account.password);
    }
    Ok((account, user))
}

fn ended(code: u32) -> Output {
    Output {
        exit: Exit::Code(code),
        stdout: Vec::new(),
        stderr: Vec::new(),
        elapsed: std::time::Duration::ZERO,
    }
}
