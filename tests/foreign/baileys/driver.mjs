// Drives an unmodified Baileys by lines of JSON, so that a test in another language can. Two things are ours and both
// are set from outside, through what Baileys exports: the trust root and the address.
//
// in   {"do":"connect","url":"ws://…/ws/chat","rootKey":"<64 hex>","name":"push name"}
//      {"do":"send","to":"<number or jid>","text":"…","id":"<optional>"}
//      {"do":"read","chat":"<jid>","id":"<message id>","participant":"<optional jid>"}
//      {"do":"leave"} {"do":"resume"}   close the connection, and log in again with the same keys
//      {"do":"quit"}
// out  {"event":"qr","qr"} {"event":"linked"} {"event":"connected","jid","lid"} {"event":"sent","id","to"}
//      {"event":"message","id","chat","chatAlt","fromMe","text","kind"} {"event":"receipt","id","status"}
//      {"event":"history","chats","messages"}
//      {"event":"closed","code","reason"} {"event":"failed","what","error"}
import readline from 'node:readline'
import makeWASocket, {
    DisconnectReason, WA_CERT_DETAILS, initAuthCreds, jidNormalizedUser, makeCacheableSignalKeyStore, proto
} from 'baileys'

const STATUS = { '': 'delivered', inactive: 'delivered', sender: 'sent' }
const LOG = process.env.DRIVER_LOG ?? 'silent'

const say = (event, more = {}) => process.stdout.write(JSON.stringify({ event, ...more }) + '\n')

// Its Signal library talks to the console, which would mix with our lines.
for (const level of ['debug', 'log', 'info', 'warn', 'error']) {
    console[level] = (...what) => { if (LOG !== 'silent') process.stderr.write(`${level} ${what.map(String).join(' ')}\n`) }
}

// Baileys asks for a pino-like logger; its own would mix with our lines.
const logger = {
    level: LOG,
    child: () => logger,
    ...Object.fromEntries(['trace', 'debug', 'info', 'warn', 'error', 'fatal'].map((level, rank, all) => [
        level,
        (what, text) => {
            if (LOG !== 'silent' && rank >= all.indexOf(LOG)) {
                const detail = JSON.stringify(what, (_, v) => (v instanceof Error ? v.stack : v))
                process.stderr.write(`${level} ${text ?? ''} ${detail}\n`)
            }
        }
    ]))
}

// Keys live as long as the process: it is linked anew in each test.
function memory() {
    const families = new Map()
    const of = type => families.get(type) ?? families.set(type, new Map()).get(type)
    return {
        get: async (type, ids) => Object.fromEntries(ids.filter(id => of(type).has(id)).map(id => {
            const value = of(type).get(id)
            return [id, type === 'app-state-sync-key' ? proto.Message.AppStateSyncKeyData.fromObject(value) : value]
        })),
        set: async data => {
            for (const [type, values] of Object.entries(data)) {
                for (const [id, value] of Object.entries(values)) {
                    if (value) of(type).set(id, value)
                    else of(type).delete(id)
                }
            }
        }
    }
}

const state = { creds: initAuthCreds(), keys: makeCacheableSignalKeyStore(memory(), logger) }
const sent = new Map()
let socket, target, away = false

const text = message => message?.conversation ?? message?.extendedTextMessage?.text
const jidOf = to => (to.includes('@') ? to : `${to}@s.whatsapp.net`)

function connect() {
    socket = makeWASocket({
        waWebSocketUrl: target.url,
        version: [2, 3000, 1043857760],
        browser: [target.name ?? 'Baileys', 'Chrome', '1'],
        auth: state,
        logger,
        syncFullHistory: false,
        getMessage: async key => sent.get(key.id)
    })
    socket.ev.on('creds.update', update => Object.assign(state.creds, update))
    socket.ev.on('connection.update', ({ connection, qr, isNewLogin, lastDisconnect }) => {
        if (qr) say('qr', { qr })
        if (isNewLogin) say('linked')
        if (connection === 'open') {
            const { id, lid } = state.creds.me
            say('connected', { jid: jidNormalizedUser(id), device: id, lid: lid && jidNormalizedUser(lid) })
        }
        if (connection === 'close') {
            const code = lastDisconnect?.error?.output?.statusCode
            say('closed', { code, reason: lastDisconnect?.error?.message })
            const again = [DisconnectReason.restartRequired, DisconnectReason.connectionClosed, DisconnectReason.connectionLost]
            if (!away && again.includes(code)) connect()
        }
    })
    socket.ev.on('messages.upsert', ({ messages, type }) => {
        for (const { key, message, messageStubParameters } of messages) {
            say('message', {
                id: key.id, chat: key.remoteJid, chatAlt: key.remoteJidAlt, participant: key.participant,
                fromMe: key.fromMe, text: text(message), kind: type, stub: messageStubParameters?.[0]
            })
        }
    })
    socket.ev.on('messaging-history.set', ({ chats, messages }) => {
        say('history', { chats: chats.length, messages: messages.length })
    })
    // Receipts as they arrive. Its `messages.update` merges them, and a late "sent" hides an earlier "delivered".
    socket.ws.on('CB:receipt', ({ attrs, content }) => {
        const items = Array.isArray(content) ? content.flatMap(list => list.content ?? []) : []
        const status = STATUS[attrs.type ?? ''] ?? attrs.type
        for (const id of [attrs.id, ...items.map(item => item.attrs?.id).filter(Boolean)]) {
            say('receipt', { id, status, from: attrs.from })
        }
    })
}

const orders = {
    connect: async order => {
        target = order
        WA_CERT_DETAILS.PUBLIC_KEY = Buffer.from(order.rootKey, 'hex')
        connect()
    },
    send: async ({ to, text, id }) => {
        const message = await socket.sendMessage(jidOf(to), { text }, id ? { messageId: id } : {})
        sent.set(message.key.id, message.message)
        say('sent', { id: message.key.id, to: message.key.remoteJid })
    },
    read: async ({ chat, id, participant }) => socket.readMessages([{ remoteJid: chat, id, participant, fromMe: false }]),
    leave: async () => {
        away = true
        await socket.end(undefined)
    },
    resume: async () => {
        away = false
        connect()
    },
    quit: async () => {
        away = true
        await socket?.end(undefined)
        process.exit(0)
    }
}

process.on('unhandledRejection', error => say('failed', { what: 'unhandled', error: `${error?.stack ?? error}` }))
for await (const line of readline.createInterface({ input: process.stdin })) {
    if (!line.trim()) continue
    const order = JSON.parse(line)
    await orders[order.do](order).catch(error => say('failed', { what: order.do, error: `${error?.stack ?? error}` }))
}
process.exit(0)
