// What a command needs to talk to a running server, and nothing of the server itself: it shall answer at once. Our own
// command uses it; may change with any version.
export { formatSize, parseDuration } from './config/units.ts'
export { ControlClient } from './control/client.ts'
export type * from './control/contract.ts'
export { locateSocket } from './control/locate.ts'
export { PosthornError, PosthornErrors } from './errors.ts'
