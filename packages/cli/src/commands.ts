// Every command of ours, read when it is asked for: who looks at the queue need not wait for all of the server.
import type { queueAct } from './commands/queue-act.ts'
import type { Io } from './io.ts'

/** Resolves with the exit code. */
export type Action = (io: Io, options: any, ...args: any[]) => Promise<number>
export type Loaded = () => Promise<Action>

export const commands = {
  init: async () => (await import('./commands/init.ts')).init,
  start: async () => (await import('./commands/start.ts')).start,
  check: async () => (await import('./commands/check.ts')).check,
  reload: async () => (await import('./commands/reload.ts')).reload,
  status: async () => (await import('./commands/status.ts')).status,
  send: async () => (await import('./commands/send.ts')).send,
  dns: async () => (await import('./commands/dns.ts')).dns,
  explain: async () => (await import('./commands/explain.ts')).explain,
  queueList: async () => (await import('./commands/queue.ts')).queueList,
  queueShow: async () => (await import('./commands/queue.ts')).queueShow,
  queueLanes: async () => (await import('./commands/lanes.ts')).queueLanes,
  queuePause: async () => (await import('./commands/lanes.ts')).queuePause,
  queueResume: async () => (await import('./commands/lanes.ts')).queueResume,
  fsckStore: async () => (await import('./commands/store.ts')).fsckStore,
  backupStore: async () => (await import('./commands/store.ts')).backupStore,
  dkimList: async () => (await import('./commands/dkim.ts')).dkimList,
  passwd: async () => (await import('./commands/passwd.ts')).passwd,
  dkimMake:
    (rotate: boolean): Loaded =>
    async () =>
      (await import('./commands/dkim.ts')).dkimMake(rotate),
  queueAct:
    (kind: Parameters<typeof queueAct>[0]): Loaded =>
    async () =>
      (await import('./commands/queue-act.ts')).queueAct(kind),
}
