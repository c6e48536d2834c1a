// Gauges of what waits and what is connected, read when somebody scrapes.
import type { Meter } from '../meter.ts'
import type { Queue } from '../queue/queue.ts'
import type { ListenerSet } from '../smtp/server.ts'

export function meterQueue(meter: Meter, queue: Queue, listeners: ListenerSet): void {
  const one = (name: string, help: string, read: () => number) =>
    meter.gauge(name, help, [], () => [{ labels: [], value: read() }])
  one('posthorn_connections', 'SMTP and LMTP connections', () => listeners.connections)
  one('posthorn_inflight_octets', 'Octets of messages under way in memory', () => listeners.inflight)
  one('posthorn_queue_sends', 'Deliveries under way', () => queue.stats.sends)
  one('posthorn_queue_lanes', 'Lanes in memory', () => queue.stats.lanes)
  one('posthorn_queue_active', 'Blocks of recipients in memory', () => queue.stats.active)
  one('posthorn_queue_held_bounces', 'Undeliverable bounces that are held', () => queue.stats.heldBounces)
}
