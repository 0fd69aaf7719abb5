//! What the engine knows about one container: inspect, top.

use rhai::{Array, Dynamic, ImmutableString, Map};

use crate::{
    api::{Host, call::Call, namespace::Namespace, value::from_json},
    core::diagnostic::Diagnostic,
};

pub(super) fn register(docker: &mut Namespace) {
    docker.query(
        "inspect(host: Host, name: string) -> map",
        "Returns all that the engine says about a container. Values that were secret when hitc
         created the container are masked.",
        |call: &Call, host: Host, name: ImmutableString| {
            let details = call.wait(async {
                let engine = call.inventory.engine(&host.0).await?;
                Ok::<_, Diagnostic>(engine.details(&name).await?)
            })?;
            Ok(from_json(&details))
        },
    );
    docker.query(
        "top(host: Host, name: string) -> map",
        "Returns the processes of a container: `columns` are the titles, and `rows` are maps by title.",
        |call: &Call, host: Host, name: ImmutableString| {
            let found = call.wait(async {
                let engine = call.inventory.engine(&host.0).await?;
                Ok::<_, Diagnostic>(engine.processes(&name).await?)
            })?;
            let row = |cells: &Vec<String>| {
                let cells = found.titles.iter().zip(cells);
                let row: Map = cells
                    .map(|(title, cell)| (title.as_str().into(), cell.clone().into()))
                    .collect();
                Dynamic::from_map(row)
            };
            let rows: Array = found.rows.iter().map(row).collect();
            let columns = found.titles.iter().cloned().map(Dynamic::from);
            let columns: Array = columns.collect();
            Ok(Map::from([
                ("columns".into(), columns.into()),
                ("rows".into(), rows.into()),
            ]))
        },
    );
}
