// Every reply that the front says by itself. Texts are generic: no configuration, no paths, nothing of the client's.
// Codes by RFC 5321 §4.2.3, enhanced codes by RFC 3463 and RFC 5248.
import type { Reply } from '@posthorn/mail'

const say = (code: number, enhanced: string, text: string, close = false): Reply =>
  close ? { code, enhanced, lines: [text], close } : { code, enhanced, lines: [text] }

export const ok = say(250, '2.0.0', 'OK')
export const bye = say(221, '2.0.0', 'Bye')
export const goAhead = { code: 354, lines: ['End data with <CR><LF>.<CR><LF>'] } as const
export const startTls = say(220, '2.0.0', 'Ready to start TLS')
export const authenticated = say(235, '2.7.0', 'Authentication successful')
export const cannotVerify = say(252, '2.0.0', 'Cannot verify, but will take mail and try')
export const help = say(214, '2.0.0', 'Commands: EHLO MAIL RCPT DATA BDAT RSET NOOP QUIT VRFY HELP AUTH STARTTLS')
export const chunkTaken = (size: number) => say(250, '2.0.0', `${size} octets received`)

export const unknownCommand = say(500, '5.5.1', 'Command not recognised')
export const lineFaults = {
  'bare CR': say(500, '5.5.2', 'Bare CR in command, lines end with CRLF'),
  'bare LF': say(500, '5.5.2', 'Bare LF in command, lines end with CRLF'),
  NUL: say(500, '5.5.2', 'NUL in command'),
  'too long': say(500, '5.5.2', 'Command line too long'),
} as const
export const notUtf8 = say(500, '5.5.2', 'Command is not valid UTF-8')
export const syntax = (usage: string) => say(501, '5.5.4', `Syntax: ${usage}`)
export const noArgument = say(501, '5.5.4', 'No argument allowed')
export const badHello = say(501, '5.5.4', 'Invalid name')
export const notImplemented = say(502, '5.5.1', 'Command not implemented')
export const wrongHello = (use: string) => say(500, '5.5.1', `Not spoken here, use ${use}`)
export const helloFirst = (verb: string) => say(503, '5.5.1', `Send ${verb} first`)
export const nested = say(503, '5.5.1', 'A transaction is open already')
export const mailFirst = say(503, '5.5.1', 'Send MAIL first')
export const noRecipients = say(554, '5.5.1', 'No valid recipients')
export const mixedData = say(503, '5.5.1', 'DATA and BDAT cannot be mixed')
export const binaryNeedsBdat = say(503, '5.5.1', 'BODY=BINARYMIME needs BDAT')
export const outOfSequence = say(503, '5.5.1', 'Bad sequence of commands')
export const refusedSession = say(503, '5.5.1', 'This session was refused, send QUIT')
export const unknownParameter = say(555, '5.5.4', 'Unsupported parameter')

export const tooManyRecipients = say(452, '4.5.3', 'Too many recipients')
export const tooLarge = say(552, '5.3.4', 'Message too large')
export const headerTooLarge = say(552, '5.3.4', 'Message header too large')
export const bodyFaults = {
  'bare CR': say(550, '5.6.0', 'Bare CR in message, lines end with CRLF'),
  'bare LF': say(550, '5.6.0', 'Bare LF in message, lines end with CRLF'),
  NUL: say(550, '5.6.0', 'NUL in message'),
} as const

export const tlsRequired = say(530, '5.7.0', 'Must issue a STARTTLS command first')
export const tlsActive = say(503, '5.5.1', 'TLS is active already')
export const requireTlsRefused = say(530, '5.7.10', 'REQUIRETLS needs an encrypted session')
export const authRequired = say(530, '5.7.0', 'Authentication required')
// RFC 4954 §4, RFC 5248
export const authNeedsTls = say(538, '5.7.11', 'Encryption required for authentication')
export const authDone = say(503, '5.5.1', 'Authenticated already')
export const authUnknown = say(504, '5.5.4', 'Mechanism not supported')
export const authCancelled = say(501, '5.7.0', 'Authentication cancelled')
export const authMalformed = say(501, '5.5.2', 'Cannot decode authentication response')
export const authTooLong = say(500, '5.5.6', 'Authentication line too long')

export const notTrusted = say(550, '5.7.1', 'Not allowed')
export const xclientSyntax = say(501, '5.5.4', 'Bad XCLIENT attribute')

// The last words: 421 always closes.
export const fault = say(421, '4.3.0', 'Internal error, closing')
export const shuttingDown = say(421, '4.3.2', 'Service shutting down, try again')
export const tooBusy = say(421, '4.3.2', 'Too many connections, try again later')
export const tooManyFromYou = say(421, '4.7.0', 'Too many connections from your address')
export const idleTooLong = say(421, '4.4.2', 'Timeout waiting for input')
export const sessionTooLong = say(421, '4.4.2', 'Session lasted too long')
export const dataTooSlow = say(421, '4.4.2', 'Message came too slowly')
export const farTooLarge = say(421, '4.3.4', 'Message far too large, closing')
export const tooManyErrors = say(421, '4.7.0', 'Too many errors')
export const tooManyIdleCommands = say(421, '4.7.0', 'Too many commands without mail')
export const tooManyMessages = say(421, '4.7.0', 'Too many messages in one session, connect again')
export const notHttp = say(421, '4.7.0', 'This is not HTTP')
