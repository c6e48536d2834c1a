import { expect, test } from 'vitest'
import { Rig, reply } from './rig.ts'

const trust = { proxy: [], xclient: ['127.0.0.0/8'] }
const hello = `
  S: 220 *
  C: EHLO proxy.example.test
  S: 250 ...
`

test('offered to the trusted, and the session begins anew as that client', async () => {
  await using rig = await Rig.start({}, { config: { trust } })
  await using client = await rig.connect()
  await client.expect('220 *')
  client.send('EHLO proxy.example.test\r\n')
  expect(await client.reply()).toContain('250 XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT')
  await client.speak(`
    C: XCLIENT NAME=Spike.Example.test ADDR=192.0.2.7 PORT=4711 PROTO=ESMTP HELO=spike DESTADDR=192.0.2.25 DESTPORT=25
    S: 220 mx.example.test ESMTP
    C: MAIL FROM:<a@example.test>
    S: 503 5.5.1 Send EHLO first
    C: EHLO spike.example.test
    S: 250 ...
    C: XCLIENT ADDR=192.0.2.8
    S: 550 5.7.1 Not allowed
    C: MAIL FROM:<a@example.test>
    S: 250 *
  `)
  expect(rig.pipeline.arrivals.map(({ client }) => client)).toEqual([
    { ip: '127.0.0.1', port: expect.any(Number), via: 'direct', trusted: true },
    { ip: '192.0.2.7', port: 4711, name: 'spike.example.test', via: 'xclient', trusted: false },
  ])
  expect(rig.pipeline.arrivals[1]?.local).toEqual({ ip: '192.0.2.25', port: 25, hostname: 'mx.example.test' })
  expect(rig.pipeline.calls.slice(0, 4)).toEqual(['open', 'EHLO proxy.example.test', 'close', 'open'])
})

test('the gates of connect are asked again', async () => {
  await using rig = await Rig.start(
    {},
    {
      config: { trust },
      script: { connect: ({ client }) => (client?.ip === '2001:db8::1' ? reply(554, '5.7.1', 'Listed') : undefined) },
    },
  )
  await using client = await rig.connect()
  await client.speak(`
    ${hello}
    C: XCLIENT ADDR=IPV6:2001:DB8:0::1 NAME=[UNAVAILABLE]
    S: 554 5.7.1 Listed
    C: EHLO again
    S: 503 5.5.1 This session was refused, send QUIT
    C: QUIT
    S: 221 *
  `)
})

test('LOGIN vouches for a user', async () => {
  await using rig = await Rig.start({ auth: 'required', insecureAuth: true }, { config: { trust } })
  await using client = await rig.connect()
  await client.speak(`
    ${hello}
    C: XCLIENT ADDR=192.0.2.7 LOGIN=anna+40example.test
    S: 220 *
    C: EHLO client
    S: 250 ...
    C: MAIL FROM:<anna@example.test>
    S: 250 *
  `)
  expect(rig.pipeline.arrivals[1]?.auth).toEqual({ user: 'anna@example.test', mechanism: 'XCLIENT', scopes: [] })
})

test('a bad attribute refuses all of it; a stranger is refused', async () => {
  await using rig = await Rig.start({ limits: { errors: 100 } }, { config: { trust } })
  await using client = await rig.connect()
  const bad = [
    '',
    'ADDR',
    'ADDR=192.0.2.300',
    'ADDR=192.0.2.1 PORT=70000',
    'ADDR=192.0.2.1 ADDR=192.0.2.2',
    'FOO=bar',
    'NAME=a+0D+0Ab',
    'NAME=-_ ADDR=x',
    'PROTO=HTTP',
    'ADDR=192.0.2.1 NAME=a..b+20',
    'DESTPORT=x',
  ]
  await client.speak(hello + bad.map(text => `C: XCLIENT ${text}\nS: 501 5.5.4 Bad XCLIENT attribute\n`).join(''))
  await client.speak('C: MAIL FROM:<a@example.test>\nS: 250 *\nC: XCLIENT ADDR=192.0.2.1\nS: 503 5.5.1 *')
  expect(rig.pipeline.arrivals).toHaveLength(1)
  await using strict = await Rig.start({}, { config: { trust: { proxy: [], xclient: ['192.0.2.0/24', '::1'] } } })
  await using stranger = await strict.connect()
  await stranger.speak(`${hello}C: XCLIENT ADDR=192.0.2.1\nS: 550 5.7.1 Not allowed`)
})
