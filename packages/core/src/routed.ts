// Local parts that a server behind may read as "send it on to there": a%b@c, b!a@c, "a@b"@c. Who accepts one for a
// server that trusts us makes an open relay by the back door.
import type { Mailbox } from '@posthorn/mail'

const routed = /[%!@]/

export const isRouted = ({ local }: Pick<Mailbox, 'local'>): boolean => routed.test(local)
