//! `vmwire vm`: virtual machines.

mod console;
mod definition;
mod field;
mod life;
mod list;
pub(super) mod several;
mod show;
mod wait;

use clap::Subcommand;
pub(super) use definition::Stdin;
pub(super) use field::{names as field_names, values as filter_values};
use vmwire_protocol::xdr::Text;

use super::named::text;
use super::problem::Problem;
use super::{Context, Exit};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// All virtual machines, or chosen ones
    List(list::Arguments),
    /// All that is known of one
    Show(show::Arguments),
    /// Define them from TOML
    Define(definition::DefineArguments),
    /// Print the definition of one, as it was written
    Definition(definition::DefinitionArguments),
    /// Forget the definitions of stopped ones; their disks stay
    Undefine(life::Undefine),
    /// Start them, and return when they run
    Start(life::Start),
    /// Press the power button, and return when they are down
    Shutdown(life::Shutdown),
    /// End them now, like pulling the plug
    Stop(life::Stop),
    /// Have the guest go down and come up again
    Reboot(life::Reboot),
    /// Press the reset button
    Reset(life::Reset),
    /// Let their processors stand still
    Pause(life::Pause),
    /// Let their processors run on
    Resume(life::Resume),
    /// Wait until one is in a state
    Wait(wait::Arguments),
    /// Read and write the serial console of one
    Console(console::Arguments),
}

pub(crate) fn run(verb: &Verb, context: &mut Context<'_>) -> Result<Exit, Problem> {
    match verb {
        Verb::List(arguments) => list::run(arguments, context),
        Verb::Show(arguments) => show::run(arguments, context),
        Verb::Define(arguments) => definition::define(arguments, context),
        Verb::Definition(arguments) => definition::print(arguments, context),
        Verb::Undefine(arguments) => arguments.run(context),
        Verb::Start(arguments) => arguments.run(context),
        Verb::Shutdown(arguments) => arguments.run(context),
        Verb::Stop(arguments) => arguments.run(context),
        Verb::Reboot(arguments) => arguments.run(context),
        Verb::Reset(arguments) => arguments.run(context),
        Verb::Pause(arguments) => arguments.run(context),
        Verb::Resume(arguments) => arguments.run(context),
        Verb::Wait(arguments) => wait::run(arguments, context),
        Verb::Console(arguments) => console::run(arguments, context),
    }
}

/// How a virtual machine is named in a call.
pub(super) fn vm(name: &str) -> Result<Text<128>, Problem> {
    if name.is_empty() {
        return Err(Problem::usage("the name of the virtual machine is empty"));
    }
    text("name", name)
}
