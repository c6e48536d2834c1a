export type { Mailbox, MailParams, Notify, RcptParams, RemoteReply, Reply } from '@posthorn/mail'
export type { Clock } from './clock.ts'
export { systemClock } from './clock.ts'
export type { ConfigInput } from './config/schema.ts'
export { defineConfig, path } from './config/schema.ts'
export type { SecretInput } from './config/secret.ts'
export { secret } from './config/secret.ts'
export { duration, size } from './config/units.ts'
export type { Credentials, ScramKeys } from './credentials.ts'
export type { DeliveryAgent, DeliveryTarget, Hold, LaneLimits, Outcome, Queued, Route } from './delivery.ts'
export type { DnsAnswer, DnsData, DnsType } from './dns/contract.ts'
export { Dns, DnsError } from './dns/contract.ts'
export { canonicalPattern, domainPattern, fitsPattern, patternsOf } from './domain-patterns.ts'
export type { Each, Id, Recipient, Target } from './envelope.ts'
export { PosthornError, PosthornErrors } from './errors.ts'
export { newId } from './id.ts'
export type { Json } from './json.ts'
export type { Log } from './log.ts'
export { silentLog } from './log.ts'
export type { Family, HistogramSample, Sample } from './meter.ts'
export { Meter, MeterToken } from './meter.ts'
export { hashPassword, parsePasswordHash, verifyPassword } from './password.ts'
export { Submission } from './pipeline/submission.ts'
export type { AnyPlugin, Call, Gate, HookSpec, Hooks, HookTable, Plugin, Setup, StageName } from './plugin.ts'
export { definePlugin } from './plugin.ts'
export type { Selector } from './selector.ts'
export { Rules, selector, selectsRecipient } from './selector.ts'
export type { Origin, Peer, Role, Session } from './session.ts'
export { Networks } from './smtp/networks.ts'
export type { Scope, State, StateKey } from './state.ts'
export { localState, messageState, recipientState, sessionState } from './state.ts'
export {
  disownOps,
  dooms,
  garbageKey,
  inlineKey,
  inlineRef,
  isInlineRef,
  newBlobName,
  ownerKey,
  ownOps,
} from './storage/blob-keys.ts'
export type { Finding, RecordCheck } from './storage/check.ts'
export type { BlobWriter, Condition, Entry, Op, Range, Tx, WriteOptions } from './storage/contract.ts'
export { Blobs, Storage, StorageError } from './storage/contract.ts'
export { assertKey, compareKeys, under } from './storage/keys.ts'
export type { BackupProgress, BackupResult } from './storage/maintenance.ts'
export { Maintenance } from './storage/maintenance.ts'
export { Place } from './storage/place.ts'
export type { Name, Token } from './token.ts'
export { token } from './token.ts'
export type { Awaitable, Edits, Message, Tap, Transaction } from './transaction.ts'
export type { Defer, DeferCode, Discard, Enhanced, PassedOn, Reject, RejectCode, Verdict } from './verdict.ts'
export { defer, discard, reject } from './verdict.ts'
