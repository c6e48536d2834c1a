export type { Mailbox, PathOptions } from './address.ts'
export { addressKey, formatAddress, needsSmtputf8, parseAddress, parsePath, sameAddress } from './address.ts'
export type { AuthResult, AuthResults } from './authres.ts'
export { authservIdOf, claimsAuthserv, formatAuthResults, parseAuthResults, sameAuthserv } from './authres.ts'
export { formatDate } from './date.ts'
export { MessageBodyHash, RelaxedBodyHash } from './dkim-body.ts'
export type { SignedField } from './dkim-header.ts'
export {
  foldedBase64,
  foldedTag,
  relaxedField,
  relaxedFields,
  relaxedOwn,
  relaxedText,
  signedFields,
  tagList,
} from './dkim-header.ts'
export { canonicalDomain, isAscii, unicodeDomain } from './domain.ts'
export type { FormattedReport, Report, ReportAction, ReportedRecipient } from './dsn.ts'
export { formatReport } from './dsn.ts'
export { FieldError, foldField } from './field.ts'
export type { Header, HeaderField } from './header.ts'
export { fieldValues, headerOf, scanHeader, unfold } from './header.ts'
export type { HeaderLimits } from './header-counter.ts'
export { HeaderCounter } from './header-counter.ts'
export type { Malformed } from './malformed.ts'
export { isMalformed } from './malformed.ts'
export type { MailParams, Notify, RcptParams } from './parameters.ts'
export { formatMailParams, formatRcptParams, parseMailParams, parseRcptParams } from './parameters.ts'
export { encodeQuotedPrintable } from './quoted-printable.ts'
export type { Received, ReceivedProtocol } from './received.ts'
export { formatReceived, receivedClauses, receivedProtocol } from './received.ts'
export type { RemoteReply, Reply } from './reply.ts'
export { formatReply } from './reply.ts'
export type { PeerReply, ReplyLimits } from './reply-parser.ts'
export { ReplyParser } from './reply-parser.ts'
export { decodeUnitext, decodeXtext, encodeUnitext, encodeXtext } from './xtext.ts'
