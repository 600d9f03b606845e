//! `vmwire vm list`: chosen fields of chosen virtual machines.

use serde_json::{Map, Value};
use vmwire_protocol::message::{VmCell, VmFilter};

use super::super::output::{Format, Table};
use super::super::problem::Problem;
use super::super::{Context, Exit};
use super::field::{Field, USUAL, read_filter};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  vmwire vm list\n  vmwire vm list --filter state=running --filter 'memory>=1GiB'\n  \
                        vmwire vm list --fields name,pid --filter 'name~web*'\n  \
                        vmwire vm list -o json | jq -r '.[].name'\n\n\
                        Fields: name uuid state reason since title memory cpus machine accelerator pid autostart\n        \
                        operation disks forwards channels\n\
                        Comparisons: = != and for text ~ with * and ?, for numbers >= <=\n"
)]
pub(crate) struct Arguments {
    /// Which fields, in this order
    #[arg(long, value_name = "FIELD,...", value_delimiter = ',', default_value = USUAL, value_parser = Field::read)]
    fields: Vec<Field>,

    /// Only those for which this holds; several must all hold
    #[arg(long = "filter", value_name = "CONDITION", value_parser = read_filter)]
    filters: Vec<VmFilter>,
}

pub(crate) fn run(arguments: &Arguments, context: &mut Context<'_>) -> Result<Exit, Problem> {
    let numbers: Vec<u32> = arguments.fields.iter().map(|field| field.number).collect();
    let mut connection = context.connect()?;
    let listing = connection.list_vms(&numbers, &arguments.filters, context.timeout)?;
    if context.output.format() == Format::Json {
        let rows: Vec<Value> = listing.rows.iter().map(|row| object(&arguments.fields, row)).collect();
        context.output.json(&rows)?;
    } else {
        context.output.listing(&listing.rows, |rows| {
            let mut table = Table::new(arguments.fields.iter().map(|field| (field.name, field.align())));
            for row in rows {
                table.row(arguments.fields.iter().zip(row).map(|(field, cell)| field.show(cell)));
            }
            table
        })?;
    }
    Ok(Exit::Ok)
}

fn object(fields: &[Field], row: &[VmCell]) -> Value {
    let pairs = fields.iter().zip(row).map(|(field, cell)| (field.key.to_owned(), field.json(cell)));
    Value::Object(pairs.collect::<Map<_, _>>())
}
