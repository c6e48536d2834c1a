// A process that was given its listening socket as fd 3, as systemd does. Run by server.test.ts.
import { silentLog } from '../../src/log.ts'
import { ListenerSet } from '../../src/smtp/server.ts'
import { config, FakePipeline, listener } from './rig.ts'

const set = new ListenerSet({ pipeline: new FakePipeline(), log: silentLog })
await set.open(config([listener({ hostname: 'inherited.example.test', listen: [{ kind: 'fd', fd: 3 }] })]))
process.stdout.write('listening\n')
