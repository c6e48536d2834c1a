// What our own packages (testing, cli, bench) build a running Posthorn from. Not for plugins; may change with any version.
export { Aborter, aborted } from './aborter.ts'
export { type LoadOptions, loadConfig } from './boot/load.ts'
export type { Config } from './config/contract.ts'
export { formatListen } from './config/listeners.ts'
export { formatDuration, formatSize } from './config/units.ts'
export { ControlClient } from './control/client.ts'
export type * from './control/contract.ts'
export { type ControlMethod, ControlServer } from './control/server.ts'
