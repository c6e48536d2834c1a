// The SMTP and LMTP client, for delivery plugins.
export type { ConnectOptions } from './smtp/client/connection.ts'
export { connect, SmtpConnection } from './smtp/client/connection.ts'
export type { Mail, MailRecipient } from './smtp/client/envelope.ts'
export type { FailOver, SendCall } from './smtp/client/fail-over.ts'
export { sendThrough } from './smtp/client/fail-over.ts'
export type { FailureKind, Phase, Timeouts } from './smtp/client/failure.ts'
export { defaultTimeouts, SmtpFailure } from './smtp/client/failure.ts'
export type { HopOptions, KeepOptions, LaneOptions, TlsOptions } from './smtp/client/hop-options.ts'
export {
  checkTls,
  endpointText,
  heloName,
  hopShape,
  ipAddress,
  keepShape,
  laneLimits,
  laneShape,
  nextHops,
  poolKey,
  tlsModes,
  tlsPolicy,
  tlsShape,
} from './smtp/client/hop-options.ts'
export { placeKey } from './smtp/client/identity.ts'
export { HopMemory } from './smtp/client/memory.ts'
export type { ClientAuth, Endpoint, NextHop, TlsPolicy, XclientIdentity } from './smtp/client/next-hop.ts'
export { endpointName, hopKey, hostName, parseEndpoint } from './smtp/client/next-hop.ts'
export { byPriority } from './smtp/client/order.ts'
export type { OutcomeContext } from './smtp/client/outcome.ts'
export { outcomeOf, outcomeOfFailure } from './smtp/client/outcome.ts'
export type { Lease, PoolLimits, PoolOptions, PoolReport } from './smtp/client/pool.ts'
export { SmtpPool } from './smtp/client/pool.ts'
export { Probe } from './smtp/client/probe.ts'
export type { Unsent } from './smtp/client/requirements.ts'
export { onStop, type Stop, type Stopping } from './smtp/client/stop.ts'
export type { Secured } from './smtp/client/tls.ts'
export { secureContext } from './smtp/client/tls.ts'
export type { Answer, Report } from './smtp/client/transaction.ts'
export type { Dialogue } from './smtp/client/wire.ts'
