// Enhanced status codes in plain words, for the sender of a message that did not arrive (RFC 3463, RFC 7504, RFC 7505).

interface Words {
  /** What happened. */
  readonly what: string
  /** What the sender can do. */
  readonly advice: string
}

const askThem = 'Reach the recipient in another way and tell them what the server said.'
const wait = 'Send the message again later.'
const moved = 'Ask the recipient for the right address in another way.'

/** By subject and detail; the class only says whether it was final. */
const byDetail: Readonly<Record<string, Words>> = {
  '1.0': { what: 'The address was not accepted.', advice: 'Check the address for mistakes.' },
  '1.1': { what: 'There is no mailbox with this address.', advice: `Check the address for mistakes. ${moved}` },
  '1.2': {
    what: 'The domain of the address does not exist or cannot take mail.',
    advice: 'Check the part after the @ for mistakes.',
  },
  '1.3': { what: 'The address is not written as an address must be.', advice: 'Check the address for mistakes.' },
  '1.4': { what: 'The address fits more than one mailbox.', advice: moved },
  '1.6': { what: 'The mailbox has moved, and mail is not forwarded.', advice: moved },
  '1.7': {
    what: 'Your own address is not written as an address must be.',
    advice: 'Check the sender address in your mail program.',
  },
  '1.8': {
    what: 'The domain of your own address was not found.',
    advice: 'Check the sender address in your mail program, or tell your postmaster.',
  },
  '1.10': { what: 'The domain of the address takes no mail at all.', advice: moved },
  '2.0': { what: 'The mailbox cannot take the message.', advice: askThem },
  '2.1': { what: 'The mailbox is switched off or takes no messages at present.', advice: askThem },
  '2.2': {
    what: 'The mailbox is full.',
    advice: 'Tell the recipient in another way, and send the message again later.',
  },
  '2.3': {
    what: 'The message is larger than the mailbox allows.',
    advice: 'Send a smaller message, or a link to the large part.',
  },
  '2.4': {
    what: 'The mailing list behind the address could not pass the message on.',
    advice: 'Tell the owner of the list.',
  },
  '3.1': { what: "The recipient's mail server has no room left.", advice: wait },
  '3.2': { what: "The recipient's mail server takes no mail at present.", advice: wait },
  '3.4': {
    what: "The message is larger than the recipient's mail server allows.",
    advice: 'Send a smaller message, or a link to the large part.',
  },
  '4.0': { what: "The recipient's mail server could not be reached.", advice: wait },
  '4.1': {
    what: "The recipient's mail server did not answer.",
    advice: 'Check the part after the @ for mistakes, or send the message again later.',
  },
  '4.2': { what: "The connection to the recipient's mail server broke.", advice: wait },
  '4.3': { what: 'The way to the recipient could not be looked up.', advice: wait },
  '4.4': {
    what: 'No way to the recipient is known.',
    advice: 'Check the part after the @ for mistakes, or tell your postmaster.',
  },
  '4.5': { what: "The recipient's mail server is too busy.", advice: wait },
  '4.6': {
    what: 'The message went round in a circle.',
    advice: 'Tell the recipient in another way: a forward at their side leads back to itself.',
  },
  '4.7': { what: 'The message could not be delivered in the time allowed.', advice: wait },
  '5.3': {
    what: 'The message has more recipients than the server allows.',
    advice: 'Send it to fewer recipients at a time.',
  },
  '6.3': {
    what: 'The message would have to be changed to be delivered, and we do not change messages.',
    advice: 'Send it in another form, without unusual attachments.',
  },
  '6.7': {
    what: 'The next mail server cannot take addresses with letters beyond ASCII.',
    advice: 'Ask the recipient for an address in plain letters.',
  },
  '6.9': {
    what: 'The next mail server cannot take headers with letters beyond ASCII.',
    advice: 'Send the message from an address in plain letters.',
  },
  '7.1': { what: "The recipient's mail server refused the message by its rules.", advice: askThem },
  '7.10': { what: 'The message has to be encrypted on its way, and that is not possible.', advice: askThem },
  '7.20': {
    what: 'The message lacks a valid DKIM signature.',
    advice: 'Tell your postmaster: the mail of your domain has to be signed.',
  },
  '7.23': {
    what: 'Your domain does not allow the server that sent this message (SPF).',
    advice: 'Tell your postmaster.',
  },
  '7.25': { what: 'The sending server has no proper name in DNS.', advice: 'Tell your postmaster.' },
  '7.26': {
    what: 'The message could not be proved to come from your domain (SPF, DKIM, DMARC).',
    advice: 'Tell your postmaster.',
  },
  '7.30': {
    what: 'You asked for encryption all the way (REQUIRETLS), and the next mail server cannot promise it.',
    advice: 'Send the message without that demand, or not at all.',
  },
}

const bySubject: Readonly<Record<string, Words>> = {
  '1': { what: 'Something is wrong with the address.', advice: 'Check the address for mistakes.' },
  '2': { what: 'The mailbox cannot take the message.', advice: askThem },
  '3': { what: "The recipient's mail system has a problem.", advice: wait },
  '4': { what: "The recipient's mail server could not be reached.", advice: wait },
  '5': { what: 'The two mail servers did not understand each other.', advice: 'Tell your postmaster.' },
  '6': { what: 'The content of the message was not accepted.', advice: 'Send it in another form.' },
  '7': { what: "The message was refused by the rules of the recipient's mail server.", advice: askThem },
}

const unknown: Words = { what: 'The message was not accepted.', advice: askThem }

/** For a code like `5.1.1`, whatever its class; never nothing. */
export function explainStatus(status: string): Words {
  const [, subject = '', detail = ''] = status.split('.')
  return byDetail[`${subject}.${detail}`] ?? bySubject[subject] ?? unknown
}
