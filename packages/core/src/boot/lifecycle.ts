import type { Aborter } from '../aborter.ts'
import type { Scene } from '../hooks/contract.ts'
import type { Origin } from '../session.ts'

const origin: Origin = {
  id: 'boot',
  protocol: 'internal',
  listener: { name: 'internal', role: 'internal' },
  local: { ip: '', port: 0, hostname: '' },
}

/** Where `ready` and `drain` run: of no session, so that nothing is filtered and nothing is kept. */
export function lifecycleScene(parent: Aborter): Scene {
  return {
    role: 'internal',
    facts: { origin, state: () => undefined },
    parent,
    open: entry => ({ run: call => entry.handler(call), keep() {}, drop() {} }),
    settled() {},
  }
}
