// The page of a link in a mail: takes the token from behind the #, and gives it to the API when the button is pressed.
// Programs that open links to look at them press no button, so they spend no token.
"use strict";

const words = {
  en: {
    title: { verify: "Confirm your mail address", invite: "Accept the invitation", reset: "Choose a new password", change_mail: "Confirm your new mail address" },
    go: { verify: "Confirm", invite: "Accept", reset: "Save", change_mail: "Confirm" },
    password: "Your password (8 to 128 characters)",
    done: { verify: "Done: your account is active.", invite: "Done: your account is active.", reset: "Done: the new password holds, and other devices are signed out.", change_mail: "Done: this is your address from now on." },
    token_spent: "This link has been used already.",
    token_expired: "This link is too old. Please ask for a new one.",
    token_unknown: "This link is not complete, or a newer one has taken its place.",
    common_password: "That password is among the first that anybody would try. Please choose another.",
    failed: "That did not work. Please try again in a while.",
  },
  es: {
    title: { verify: "Confirma tu correo", invite: "Acepta la invitación", reset: "Elige una contraseña nueva", change_mail: "Confirma tu correo nuevo" },
    go: { verify: "Confirmar", invite: "Aceptar", reset: "Guardar", change_mail: "Confirmar" },
    password: "Tu contraseña (de 8 a 128 caracteres)",
    done: { verify: "Listo: tu cuenta está activa.", invite: "Listo: tu cuenta está activa.", reset: "Listo: la contraseña nueva ya vale y se han cerrado las demás sesiones.", change_mail: "Listo: este es tu correo desde ahora." },
    token_spent: "Este enlace ya se ha usado.",
    token_expired: "Este enlace ha caducado. Pide uno nuevo.",
    token_unknown: "El enlace no está completo o hay otro más reciente.",
    common_password: "Esa contraseña es de las primeras que cualquiera probaría. Elige otra.",
    failed: "No ha funcionado. Inténtalo de nuevo en un rato.",
  },
  pt: {
    title: { verify: "Confirme o seu e-mail", invite: "Aceite o convite", reset: "Escolha uma nova senha", change_mail: "Confirme o seu novo e-mail" },
    go: { verify: "Confirmar", invite: "Aceitar", reset: "Salvar", change_mail: "Confirmar" },
    password: "A sua senha (de 8 a 128 caracteres)",
    done: { verify: "Pronto: a sua conta está ativa.", invite: "Pronto: a sua conta está ativa.", reset: "Pronto: a nova senha já vale e as outras sessões foram encerradas.", change_mail: "Pronto: este é o seu e-mail a partir de agora." },
    token_spent: "Este link já foi usado.",
    token_expired: "Este link expirou. Peça um novo.",
    token_unknown: "O link não está completo ou há outro mais recente.",
    common_password: "Essa senha está entre as primeiras que qualquer um tentaria. Escolha outra.",
    failed: "Não funcionou. Tente de novo daqui a pouco.",
  },
};

// Where the token goes, from this page's address on: the service may live below a path.
const routes = { verify: "../verify", invite: "../invitations/accept", reset: "../password/reset", change_mail: "../mail/confirm" };

const purpose = location.pathname.split("/").pop();
const token = new URLSearchParams(location.hash.slice(1)).get("token") ?? "";
// Nobody who looks at the address later, or goes back to it, finds the token there.
history.replaceState(null, "", location.pathname);

const language = navigator.languages.map((tag) => tag.slice(0, 2)).find((tag) => tag in words) ?? "en";
const text = words[language];
const part = (id) => document.getElementById(id);
const chooses = purpose === "invite" || purpose === "reset";

document.documentElement.lang = language;
document.title = part("title").textContent = text.title[purpose];
part("password-label").textContent = text.password;
part("go").textContent = text.go[purpose];
part("choose").hidden = !chooses;
part("password").required = chooses;
if (token) part("form").hidden = false;
else part("said").textContent = text.token_unknown;

part("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  part("go").disabled = true;
  const body = chooses ? { token, password: part("password").value } : { token };
  let code = "failed";
  try {
    const answer = await fetch(routes[purpose], {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
      credentials: "omit",
    });
    code = answer.ok ? "" : (await answer.json()).code;
  } catch {
    // No answer, or none that can be read: as any other failure.
  }
  part("form").hidden = code === "" || code.startsWith("token_");
  part("go").disabled = false;
  part("said").textContent = code === "" ? text.done[purpose] : (text[code] ?? text.failed);
});
