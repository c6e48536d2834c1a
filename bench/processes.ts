// CPU time and memory of a process and its descendants, from Linux's /proc. Elsewhere every figure is NaN.

import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as wait } from 'node:timers/promises'

// USER_HZ is 100 on every Linux that Node runs on, and pages are 4 KiB where we measure.
const ticksPerSecond = 100
const pageSize = 4096

interface Stat {
  readonly ppid: number
  /** Seconds, of children that ended and were waited for too. */
  readonly cpu: number
  /** Octets. */
  readonly rss: number
}

function stat(pid: number): Stat | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1')
    // The second field is the command in parentheses and may hold anything.
    const f = text
      .slice(text.lastIndexOf(')') + 2)
      .split(' ')
      .map(Number) as number[]
    const [ppid, user, system, childUser, childSystem, rss] = [f[1], f[11], f[12], f[13], f[14], f[21]] as number[]
    const ticks = (user as number) + (system as number) + (childUser as number) + (childSystem as number)
    return { ppid: ppid as number, cpu: ticks / ticksPerSecond, rss: (rss as number) * pageSize }
  } catch {
    // It has ended since we listed it.
    return
  }
}

function tree(root: number): readonly Stat[] {
  let names: string[]
  try {
    names = readdirSync('/proc').filter(name => /^\d+$/.test(name))
  } catch {
    return []
  }
  const stats = new Map(names.map(name => [Number(name), stat(Number(name))]))
  const inTree = (pid: number): boolean => pid === root || (pid > 1 && inTree(stats.get(pid)?.ppid ?? 0))
  return [...stats].flatMap(([pid, s]) => (s !== undefined && inTree(pid) ? [s] : []))
}

const sum = (stats: readonly Stat[], of: 'cpu' | 'rss') =>
  stats.length === 0 ? Number.NaN : stats.reduce((total, s) => total + s[of], 0)

/** Seconds of CPU that a process tree has used so far. */
export const cpuOf = (pid: number): number => sum(tree(pid), 'cpu')

/** Resident octets of a process tree now; pages that its processes share count for each. */
export const rssOf = (pid: number): number => sum(tree(pid), 'rss')

/** Watches a process tree's memory until `stop`, which gives the peak in octets. */
export function watchPeak(pid: number, every = 100): { stop(): number } {
  let peak = rssOf(pid)
  const timer = setInterval(() => {
    peak = Math.max(peak, rssOf(pid))
  }, every)
  return {
    stop() {
      clearInterval(timer)
      return Math.max(peak, rssOf(pid))
    },
  }
}

/** Waits until a process tree is idle (under 3 % of a core for half a second), at most `limit` ms. */
export async function settle(pid: number, limit = 30_000): Promise<void> {
  const until = performance.now() + limit
  let before = cpuOf(pid)
  while (performance.now() < until) {
    await wait(500)
    const now = cpuOf(pid)
    if (Number.isNaN(now) || now - before <= 0.015) return
    before = now
  }
}
