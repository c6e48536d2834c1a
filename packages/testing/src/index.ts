export type { OpenBlobs } from './blobs-suite.ts'
export { blobsSuite } from './blobs-suite.ts'
export type { TestCertificate } from './certificates.ts'
export {
  clientCertificate,
  expiredCertificate,
  goodCertificate,
  testCa,
  wrongNameCertificate,
} from './certificates.ts'
export type { Check, ConformanceOptions } from './conformance.ts'
export { conformance } from './conformance.ts'
export type { DnsAct, DnsQuery, DnsServer, DnsServerOptions } from './dns-server.ts'
export { dnsServer } from './dns-server.ts'
export type { FakeClock } from './fake-clock.ts'
export { fakeClock } from './fake-clock.ts'
export type { FakeDns, FakeDnsOptions } from './fake-dns.ts'
export { fakeDns } from './fake-dns.ts'
export type { FaultOptions } from './faulty-storage.ts'
export { FaultyStorage, faultyStorage, seeded } from './faulty-storage.ts'
export type { Given, Harness, HarnessSetup } from './harness.ts'
export { harness } from './harness.ts'
export type { Result } from './harness-message.ts'
export type { MemoryBlobs } from './memory-blobs.ts'
export { memoryBlobs } from './memory-blobs.ts'
export { MemoryStorage, memoryStorage } from './memory-storage.ts'
export type { SmtpScriptOptions } from './smtp-client.ts'
export { SmtpScript } from './smtp-client.ts'
export type { PeerAct, PeerMessage, PeerOptions, PeerScript, PeerStep, PeerSteps } from './smtp-peer.ts'
export { SmtpPeer } from './smtp-peer.ts'
export type { OpenStorage, SuiteRunner } from './storage-suite.ts'
export { storageSuite } from './storage-suite.ts'
export type { ZoneFault, ZoneName, Zones } from './zone.ts'
