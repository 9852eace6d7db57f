// Two public clients of the Bot API behind one small interface, so that
// cases/botapi.py can put both to our server. A line of JSON in, one out:
// {"client": "grammy" | "ntba", "token": ..., "call": ..., "args": [...]}.
const root = process.argv[2];
const { Api, InputFile } = require('grammy');
const TelegramBot = require('node-telegram-bot-api');

const clients = {
  grammy: (token) => {
    const api = new Api(token, { apiRoot: root });
    return {
      getMe: () => api.getMe(),
      sendMessage: (chat, text, more) => api.sendMessage(chat, text, more),
      sendDocument: (chat, base64, name, caption) =>
        api.sendDocument(chat, new InputFile(Buffer.from(base64, 'base64'), name), { caption }),
      getUpdates: (more) => api.getUpdates(more),
      getFile: (id) => api.getFile(id),
      deleteMessage: (chat, id) => api.deleteMessage(chat, id),
      editMessageText: (chat, id, text) => api.editMessageText(chat, id, text),
      answerCallbackQuery: (id) => api.answerCallbackQuery(id),
      setWebhook: (url) => api.setWebhook(url),
      deleteWebhook: () => api.deleteWebhook(),
      download: async (id) => {
        const file = await api.getFile(id);
        const got = await fetch(`${root}/file/bot${token}/${file.file_path}`);
        return Buffer.from(await got.arrayBuffer()).toString('base64');
      },
    };
  },
  ntba: (token) => {
    const bot = new TelegramBot(token, { baseApiUrl: root });
    return {
      getMe: () => bot.getMe(),
      sendMessage: (chat, text, more) => bot.sendMessage(chat, text, more),
      sendDocument: (chat, base64, name, caption) =>
        bot.sendDocument(chat, Buffer.from(base64, 'base64'), { caption },
          { filename: name, contentType: 'application/octet-stream' }),
      getUpdates: (more) => bot.getUpdates(more),
      getFile: (id) => bot.getFile(id),
      deleteMessage: (chat, id) => bot.deleteMessage(chat, id),
      editMessageText: (chat, id, text) =>
        bot.editMessageText(text, { chat_id: chat, message_id: id }),
      answerCallbackQuery: (id) => bot.answerCallbackQuery(id),
      setWebhook: (url) => bot.setWebHook(url),
      deleteWebhook: () => bot.deleteWebHook(),
      download: async (id) => {
        const got = await fetch(await bot.getFileLink(id));
        return Buffer.from(await got.arrayBuffer()).toString('base64');
      },
    };
  },
};

// What each of them makes of an error that the server told.
const described = (e) => {
  const body = (e.response && e.response.body) || e;
  return { code: body.error_code, description: body.description,
           parameters: body.parameters, message: String(e.message) };
};

const open = {};
require('readline').createInterface({ input: process.stdin }).on('line', async (line) => {
  const q = JSON.parse(line);
  const key = q.client + q.token;
  open[key] = open[key] || clients[q.client](q.token);
  try {
    console.log(JSON.stringify({ n: q.n, ok: await open[key][q.call](...q.args) }));
  } catch (e) {
    console.log(JSON.stringify({ n: q.n, err: described(e) }));
  }
});
