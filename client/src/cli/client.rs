//! `vmwire client`: the clients that the daemon knows by their keys: inviting, adding, changing and removing them.

use clap::{Args, Subcommand};
use serde::Serialize;
use vmwire_protocol::message::{
    ClientAddCall, ClientCall, ClientInfo, ClientInviteCall, ClientSetRoleCall, ListCall, client_state, role,
};
use vmwire_protocol::xdr::Fixed;
use vmwire_tls::identity::Fingerprint;

use super::named::{name_of, text, unless_empty, unless_zero};
use super::output::{Align, Format, PROGRAM, Table};
use super::problem::Problem;
use super::quantity::show_time;
use super::{Context, Exit, unless_too_old};
use crate::pages::{Allowance, Order, Page};
use crate::request;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Who is known by a key, and who was invited
    #[command(after_help = "Examples:\n  vmwire client list\n  \
                            vmwire client list -o json | jq -r '.[] | select(.state == \"invited\") | .name'\n")]
    List,
    /// Make a token that buys one certificate within an hour, and print it; it cannot be shown again
    #[command(after_help = "Examples:\n  vmwire client invite alice --role operator\n  \
                            vmwire client invite alice --role observer --address vm1.example.org\n")]
    Invite(Invite),
    /// Make a key known whose certificate another authority made
    #[command(
        after_help = "Examples:\n  vmwire client add backup --role observer --key sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\n"
    )]
    Add(Add),
    /// Give a client, or one that was invited, another role
    #[command(after_help = "Examples:\n  vmwire client role alice admin\n")]
    Role {
        /// The client
        name: String,
        /// observer, operator or admin
        #[arg(value_parser = read_role)]
        role: u32,
    },
    /// Know clients no more, or take invitations back
    #[command(after_help = "Examples:\n  vmwire client remove alice\n")]
    Remove {
        /// The clients
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Invite {
    /// What the client will be called
    name: String,
    /// What it will be: observer, operator or admin
    #[arg(long, value_parser = read_role)]
    role: u32,
    /// Where it reaches the daemon; without a port, at the one where the daemon listens [default: the first name or address in
    /// the daemon's certificate that means more than the host itself]
    #[arg(long, value_name = "HOST[:PORT]", default_value = "", hide_default_value = true)]
    address: String,
}

#[derive(Debug, Args)]
pub(crate) struct Add {
    /// What the client will be called
    name: String,
    /// What it will be: observer, operator or admin
    #[arg(long, value_parser = read_role)]
    role: u32,
    /// The SHA-256 of its public key, as vmwire pki show prints it
    #[arg(long, value_name = "FINGERPRINT", value_parser = read_key)]
    key: Fingerprint,
}

fn read_role(text: &str) -> Result<u32, String> {
    role::number(text).ok_or_else(|| {
        let known: Vec<&str> = role::ALL.iter().map(|(_, name)| *name).collect();
        format!("there is no such role; there are {}", known.join(", "))
    })
}

fn read_key(text: &str) -> Result<Fingerprint, String> {
    text.parse().map_err(|_| "a fingerprint is sha256: and 64 hexadecimal digits".to_owned())
}

pub(crate) fn run(verb: &Verb, context: &mut Context<'_>) -> Result<Exit, Problem> {
    let mut connection = context.connect()?;
    match verb {
        Verb::List => {
            let mut rows = Vec::new();
            let ask = |after, deadline| {
                let answer = connection.call(request::ClientList(ListCall { after, rows_max: 0 }), deadline)?;
                Ok(Page { told: (), rows: answer.rows.into_vec(), next: answer.next })
            };
            let mut allowance = Allowance::new(context.timeout);
            let listed = Order::Name.each_page(&mut allowance, ask, |row| rows.push(ClientJson::from(row)));
            listed.map_err(unless_too_old)?;
            context.output.listing(&rows, table)?;
        }
        Verb::Invite(Invite { name, role, address }) => {
            let call = ClientInviteCall { name: text("name", name)?, role: *role, address: text("address", address)? };
            let answer = connection.call(request::ClientInvite(call), context.timeout).map_err(unless_too_old)?;
            let token = answer.token.reveal().as_str();
            if context.output.format() == Format::Json {
                let (name, address) = (name.clone(), answer.address.to_string());
                let role = name_of(*role, role::name);
                context.output.json(&InviteJson { name, role, token, address, expires_ns: answer.expires_ns })?;
            } else {
                context.output.line(token)?;
                context.output.note(&format!(
                    "good until {} for one certificate of the daemon at {}: on the client, hand it to `{PROGRAM} enroll`, which \
                     asks for it",
                    show_time(answer.expires_ns),
                    answer.address
                ));
            }
        }
        Verb::Add(Add { name, role, key }) => {
            let call = ClientAddCall { name: text("name", name)?, role: *role, key: Fixed(*key.bytes()) };
            let info = connection.call(request::ClientAdd(call), context.timeout).map_err(unless_too_old)?;
            changed(context, info)?;
        }
        Verb::Role { name, role } => {
            let call = ClientSetRoleCall { name: text("name", name)?, role: *role };
            let info = connection.call(request::ClientSetRole(call), context.timeout).map_err(unless_too_old)?;
            changed(context, info)?;
        }
        Verb::Remove { names } => {
            let mut ends = Vec::new();
            for name in names {
                let call = request::ClientRemove(ClientCall { name: text("name", name)? });
                match connection.call(call, context.timeout) {
                    Ok(()) => ends.push(Exit::Ok),
                    Err(error) if error.ends_connection() => return Err(error.into()),
                    Err(error) => {
                        let problem = unless_too_old(error);
                        context.output.problem(&problem);
                        ends.push(problem.exit);
                    }
                }
            }
            return Ok(Exit::of_several(&ends));
        }
    }
    Ok(Exit::Ok)
}

/// In JSON the client as it is now; a person knows what was asked for.
fn changed(context: &mut Context<'_>, info: ClientInfo) -> Result<(), Problem> {
    if context.output.format() == Format::Json {
        context.output.json(&ClientJson::from(info))?;
    }
    Ok(())
}

fn table(rows: &[ClientJson]) -> Table {
    let mut table = Table::new([
        ("name", Align::Left),
        ("role", Align::Left),
        ("state", Align::Left),
        ("since", Align::Left),
        ("expires", Align::Left),
        ("key", Align::Left),
    ]);
    for row in rows {
        let expires = row.expires_ns.or(row.not_after_ns).map(show_time).unwrap_or_default();
        table.row([
            row.name.clone(),
            row.role.clone(),
            row.state.clone(),
            show_time(row.since_ns),
            expires,
            row.key.clone().unwrap_or_default(),
        ]);
    }
    table
}

#[derive(Serialize)]
struct InviteJson<'a> {
    name: String,
    role: String,
    token: &'a str,
    address: String,
    expires_ns: u64,
}

#[derive(Serialize)]
struct ClientJson {
    name: String,
    role: String,
    state: String,
    key: Option<String>,
    serial: Option<String>,
    not_after_ns: Option<u64>,
    since_ns: u64,
    expires_ns: Option<u64>,
}

impl From<ClientInfo> for ClientJson {
    fn from(info: ClientInfo) -> Self {
        let known = info.key != Fixed::default();
        Self {
            name: info.name.to_string(),
            role: name_of(info.role, role::name),
            state: name_of(info.state, client_state::name),
            key: known.then(|| Fingerprint::from(info.key.0).to_string()),
            serial: unless_empty(&info.serial),
            not_after_ns: unless_zero(info.not_after_s.saturating_mul(1_000_000_000)),
            since_ns: info.since_ns,
            expires_ns: unless_zero(info.expires_ns),
        }
    }
}
