export type { Mailbox } from './address.ts'
export type { MailParams, Notify, RcptParams } from './parameters.ts'
export type { RemoteReply, Reply } from './reply.ts'
