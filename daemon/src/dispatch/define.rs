//! Define: a text becomes a virtual machine, durably, before the reply. One text is read a turn.

use log::info;
use uuid::Uuid;
use vmwire_protocol::message::{Failure, VmDefineCall, code};

use super::calls::{CallKey, Subject};
use super::refusal;
use super::task::Task;
use super::{Dispatch, Outcome, Reply, Turn};
use crate::access::{Grants, Role};
use crate::driver::FileAnswer;
use crate::model::admission::Wish;
use crate::model::{Definition, OperationId, Vm, VmId, VmState};

/// How many definitions of all connections together may wait to be read or written: at most 12 MiB of text.
const DEFINES_MAX: usize = 256;

/// When to try again where too many wait, in milliseconds.
const RETRY_AFTER_MS: u32 = 100;

/// A definition that waits to be read, and who asked for it.
#[derive(Debug)]
pub(super) struct Define {
    text: String,
    replace: bool,
    identity: String,
    /// What whoever asked might do then.
    grants: Grants,
}

impl Dispatch {
    pub(super) fn vm_define(&mut self, key: CallKey, call: VmDefineCall) -> Outcome {
        if self.defines.len() + self.files.len() >= DEFINES_MAX {
            let mut failure = Failure::new(code::OVERLOADED, "too many definitions wait to be read and written")
                .detail("limit", &DEFINES_MAX.to_string());
            failure.retry_after_ms = RETRY_AFTER_MS;
            return Err(failure);
        }
        let identity = self.identity(key.connection);
        let Some(grants) = self.grants(key.connection).cloned() else {
            return Err(Failure::new(code::INTERNAL, "the connection is gone"));
        };
        let (text, replace) = (call.definition.into_string(), call.replace);
        self.defines.push_back((key, Define { text, replace, identity, grants }));
        Ok(Reply::Later(Subject::Definition))
    }

    /// Reads the next definition. It is carried out even if the connection it came from is gone.
    pub(super) fn define_next(&mut self, turn: &mut Turn<'_>) {
        let Some((key, define)) = self.defines.pop_front() else { return };
        match self.define(turn, define) {
            Ok(operation) => {
                self.calls.change(key, Subject::Operation(operation));
                self.finish_if_over(turn, operation);
            }
            Err(failure) => self.conclude(turn, key, Err(failure)),
        }
    }

    /// Drops a definition that was not read yet.
    pub(super) fn define_dropped(&mut self, key: CallKey) {
        self.defines.retain(|(waiting, _)| *waiting != key);
    }

    fn define(&mut self, turn: &mut Turn<'_>, define: Define) -> Result<OperationId, Failure> {
        let Define { text, replace, identity, grants } = define;
        let definition = Definition::parse(&text).map_err(|error| {
            let failure = Failure::new(code::INVALID, &error.to_string()).hint(error.hint());
            match error.position() {
                Some(at) => failure.detail("line", &at.line.to_string()).detail("column", &at.column.to_string()),
                None => failure,
            }
        })?;
        let name = definition.name.to_string();
        self.may_define(&grants, &definition)?;
        self.driver.check(&definition).map_err(|error| refusal::driver(&error, &name))?;
        let same_name = self.vms.find(&name).map(|vm| vm.id);
        let same_uuid = definition.uuid.map(VmId).and_then(|id| self.vms.get(id)).map(|vm| vm.id);
        let known = match (same_name, same_uuid) {
            (Some(by_name), Some(by_uuid)) if by_name != by_uuid => {
                return Err(exists(&name, by_name).cause("its uuid is that of yet another one"));
            }
            (by_name, by_uuid) => by_uuid.or(by_name),
        };
        let in_the_making = self.in_the_making(&definition).next().is_some();
        match known {
            _ if in_the_making => Err(Failure::new(code::EXISTS, "a virtual machine of that name is being defined")
                .about("vm", &name)
                .detail("name", &name)),
            Some(id) if !replace => {
                Err(exists(&name, id)
                    .hint("another name, or --replace to put this definition in the place of that one"))
            }
            Some(id) if definition.uuid.is_some_and(|uuid| VmId(uuid) != id) => {
                Err(exists(&name, id).cause("it has another uuid, and a uuid never changes"))
            }
            Some(id) => self.redefine(turn, id, definition, &identity),
            None => {
                let id = VmId(definition.uuid.unwrap_or_else(Uuid::new_v4));
                let task = Task::Define(Box::new(definition));
                let operation = self.new_operation(turn, id, &name, &identity, task);
                self.begin(turn, id, operation);
                Ok(operation)
            }
        }
    }

    /// Definitions that are being written with the name or the uuid of this one.
    fn in_the_making(&self, definition: &Definition) -> impl Iterator<Item = &Definition> {
        self.tasks
            .values()
            .filter_map(Task::definition)
            .filter(|other| other.name == definition.name || definition.uuid.is_some() && other.uuid == definition.uuid)
    }

    /// Whether somebody may make this of what is there: the new one and those it would replace have to be theirs, and so
    /// have those that are being made.
    fn may_define(&self, grants: &Grants, definition: &Definition) -> Result<(), Failure> {
        if grants.is_even() {
            return Ok(());
        }
        let name = definition.name.as_str();
        let theirs = |name: &str, labels: &[String]| grants.over(name, labels) == Some(Role::Admin);
        let former = self.vms.find(name).into_iter();
        let former = former.chain(definition.uuid.and_then(|uuid| self.vms.get(VmId(uuid))));
        let former = former.map(|vm| (vm.name().as_str(), &vm.definition.labels));
        let coming = self.in_the_making(definition).map(|other| (other.name.as_str(), &other.labels));
        let mut all = former.chain(coming).chain([(name, &definition.labels)]);
        if all.all(|(name, labels)| theirs(name, labels)) { Ok(()) } else { Err(refusal::denied_define(name)) }
    }

    fn redefine(
        &mut self,
        turn: &mut Turn<'_>,
        id: VmId,
        definition: Definition,
        identity: &str,
    ) -> Result<OperationId, Failure> {
        let Some(vm) = self.vms.get(id) else { return Err(refusal::no_vm(&id.to_string())) };
        if vm.state == VmState::Adopting {
            return Err(refusal::adopting(vm));
        }
        if vm.current.is_some() || is_refused(vm) {
            return Err(refusal::wrong_state(Wish::Redefine, vm));
        }
        let name = vm.name().to_string();
        let task = Task::Redefine(Box::new(definition));
        let operation = self.new_operation(turn, id, &name, identity, task);
        self.begin(turn, id, operation);
        Ok(operation)
    }

    /// Makes a definition durable, or removes one. Answers at once where nothing has to be written.
    pub(super) fn write_definition(&mut self, turn: &mut Turn<'_>, id: VmId, operation: OperationId) {
        let request = match self.tasks.get(&operation) {
            Some(Task::Define(definition) | Task::Redefine(definition)) => self.store.define(id, &definition.text),
            Some(Task::Undefine) => self.store.undefine(id),
            _ => None,
        };
        match request {
            Some(request) => {
                let ticket = turn.host.file(request);
                self.files.insert(ticket, operation);
            }
            None => self.file_answered(turn, operation, FileAnswer::Done),
        }
    }

    /// A definition is durable or gone for good, or could not be made so.
    pub(super) fn file_answered(&mut self, turn: &mut Turn<'_>, operation: OperationId, answer: FileAnswer) {
        let Some((id, name)) = self.operations.get(operation).map(|operation| operation.vm.clone()) else { return };
        if let FileAnswer::Failed(why) = answer {
            let failure = Failure::new(code::DRIVER, "the definition could not be kept").about("vm", &name).cause(&why);
            return self.finish(turn, operation, Err(failure));
        }
        match self.tasks.remove(&operation) {
            Some(Task::Define(definition)) => {
                info!("vm {name}: defined as {id}");
                let mut vm = Vm::new(id, *definition, turn.now.utc_ns);
                vm.current = Some(operation);
                self.vms.insert(vm);
                self.emit_defined(turn, id, &name, operation, false);
            }
            Some(Task::Redefine(definition)) => {
                let (former, name) = (name, definition.name.to_string());
                info!("vm {name}: defined anew");
                let regrouped = self.vms.get(id).is_some_and(|vm| {
                    vm.definition.name != definition.name || vm.definition.labels != definition.labels
                });
                self.vms.redefine(id, *definition);
                self.emit_defined(turn, id, &name, operation, true);
                if regrouped {
                    self.vm_regrouped(turn, id, &former);
                }
            }
            _ => {
                info!("vm {name}: undefined");
                self.forget(turn, id, &name, operation);
            }
        }
        self.finish(turn, operation, Ok(()));
    }
}

fn is_refused(vm: &Vm) -> bool {
    use crate::model::admission::{Verdict, judge};
    judge(Wish::Redefine, vm.state) != Verdict::Do
}

fn exists(name: &str, id: VmId) -> Failure {
    Failure::new(code::EXISTS, "a virtual machine of that name or uuid exists already")
        .about("vm", name)
        .detail("name", name)
        .detail("uuid", &id.to_string())
}
