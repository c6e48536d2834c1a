// What our own packages (testing, cli, bench) build a running Posthorn from. Not for plugins; may change with any version.
export { Aborter, aborted } from './aborter.ts'
