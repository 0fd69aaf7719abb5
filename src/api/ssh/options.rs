//! The options of functions that run commands and send files.

use rhai::{Dynamic, Map};

use crate::{
    api::{secret::text_of, value::to_options},
    core::{
        diagnostic::Diagnostic,
        units::duration,
        value::{Data, Fields, Invalid, Value},
    },
    machine::WriteOptions,
    ssh::{Command, Input},
};

/// A command with options: `cd`, `env`, `user`, `sudo`, `shell`, `timeout`, `stdin`.
pub(in crate::api) fn command(line: &str, options: &Map) -> Result<Command, Diagnostic> {
    let given = to_options(options);
    let mut fields = Fields::new(&given, "run")?;
    let mut command = Command::new(line);
    command.folder = fields.decode("cd", Value::to_text)?;
    command.user = fields.decode("user", user)?;
    command.sudo = fields.decode("sudo", Value::to_bool)?.unwrap_or(false);
    command.shell = fields.decode("shell", Value::to_text)?;
    command.timeout = fields.decode("timeout", duration)?;
    let environment = fields.decode("env", |value, what| {
        let mut environment = Vec::new();
        for entry in value.to_map(what)? {
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let name = &entry.key;
            if name.is_empty()
                || name.starts_with(|c: char| c.is_ascii_digit())
                || !name.chars().all(is_name)
            {
                let text = format!("{what}: invalid variable name `{name}`");
                return Err(Invalid::new(&entry.value, text));
            }
            environment.push((name.clone(), entry.value.to_text_or_secret(name)?));
        }
        Ok(environment)
    })?;
    command.environment = environment.unwrap_or_default();
    let stdin = fields.decode("stdin", Value::to_text_or_secret)?;
    fields.finish()?;
    if let Some(stdin) = stdin {
        command.stdin = Input::Bytes(stdin.into());
    }
    Ok(command)
}

/// How a file is written: `mode`, `owner`, `sudo`, `folders`; and for transfers of folders
/// `delete`.
pub(super) struct FileOptions {
    pub write_options: WriteOptions,
    pub delete: bool,
}

impl FileOptions {
    pub fn decode(options: &Map, of: &str) -> Result<Self, Diagnostic> {
        let options = to_options(options);
        let mut fields = Fields::new(&options, of)?;
        let mode = fields.decode("mode", mode)?;
        let owner = fields.decode("owner", owner)?;
        let sudo = fields.decode("sudo", Value::to_bool)?.unwrap_or(false);
        let folders = fields.decode("folders", Value::to_bool)?.unwrap_or(false);
        let delete = if of == "put" || of == "template" {
            None
        } else {
            fields.decode("delete", Value::to_bool)?
        };
        fields.finish()?;
        Ok(FileOptions {
            write_options: WriteOptions {
                mode,
                new_mode: None,
                is_private: false,
                owner,
                sudo,
                folders,
            },
            delete: delete.unwrap_or(false),
        })
    }
}

fn mode(value: &Value, what: &str) -> Result<String, Invalid> {
    if let Data::Number(number) = &value.data {
        // `0o644` is the number 420, and `644` may be meant as the digits.
        let text = format!("{what}: {number} is a number, not the octal digits of a mode");
        return Err(Invalid::new(value, text)
            .help("write a text, such as \"644\" for rw-r--r--".to_owned()));
    }
    let text = value.to_text(what)?;
    let is_mode = (3..=4).contains(&text.len()) && text.chars().all(|c| ('0'..='7').contains(&c));
    if is_mode {
        Ok(text)
    } else {
        Err(
            Invalid::new(value, format!("{what}: invalid mode `{text}`"))
                .help("use octal digits, for example \"644\"".to_owned()),
        )
    }
}

fn owner(value: &Value, what: &str) -> Result<String, Invalid> {
    let text = value.to_text(what)?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_.-:".contains(c);
    if !text.is_empty() && !text.starts_with('-') && text.chars().all(is_name) {
        Ok(text)
    } else {
        Err(
            Invalid::new(value, format!("{what}: invalid owner `{text}`"))
                .help("use \"user\" or \"user:group\"".to_owned()),
        )
    }
}

fn user(value: &Value, what: &str) -> Result<String, Invalid> {
    owner(value, what).and_then(|text| {
        if text.contains(':') {
            Err(Invalid::new(
                value,
                format!("{what}: invalid user `{text}`"),
            ))
        } else {
            Ok(text)
        }
    })
}

/// The mode of a file with a secret.
pub(super) const SECRET_MODE: &str = "600";

/// The content of a file, and its mode if it is created: only the owner can read a secret.
pub(super) fn content(content: &Dynamic) -> (String, &'static str) {
    match text_of(content) {
        Some(secret) => (secret, SECRET_MODE),
        None => (content.to_string(), "644"),
    }
}
