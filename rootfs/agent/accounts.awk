# Users and groups of a node: reads /etc/passwd, group, shadow and gshadow as they are, what is wanted, and whom an earlier
# run made, and writes all of them anew below OUT. The same input gives the same output, so it may run at any time.
#
# -v etc=/etc -v wanted=FILE -v managed=FILE -v out=DIRECTORY -v day=DAYS_SINCE_1970 -v shell=DEFAULT
# FILE has lines of words with tabs between them, - for what is not said:
#   group NAME GID
#   user NAME UID SHELL GROUPS HASH
# managed has the names of users, and behind a tab what was given to them: the name of a group, or ! for a password.
# OUT/homes tells whose home may have to be made, OUT/problems what was wanted and cannot be.

function problem(text) { print text > (out "/problems") }

function load(file, lines, names,    line, n, parts) {
    n = 0
    while ((getline line < (etc "/" file)) > 0) {
        lines[++n] = line
        split(line, parts, ":")
        if (parts[1] != "") names[parts[1]] = n
    }
    close(etc "/" file)
    return n
}

function save(file, lines, n,    i) {
    for (i = 1; i <= n; i++) print lines[i] > (out "/" file)
    close(out "/" file)
}

function field(line, number,    parts) { split(line, parts, ":"); return parts[number] }

function with(line, number, value,    parts, n, i, text) {
    n = split(line, parts, ":")
    if (n < number) n = number
    parts[number] = value
    text = parts[1]
    for (i = 2; i <= n; i++) text = text ":" parts[i]
    return text
}

function has(list, name) { return index("," list ",", "," name ",") > 0 }

function joined(list, name) { return list == "" ? name : has(list, name) ? list : list "," name }

function without(list, name,    parts, n, i, text) {
    n = split(list, parts, ",")
    text = ""
    for (i = 1; i <= n; i++) if (parts[i] != name) text = text == "" ? parts[i] : text "," parts[i]
    return text
}

# A number that nobody has and nobody asked for.
function free_id(taken, asked,    id) {
    for (id = 1000; id < 60000; id++) if (!(id in taken) && !(id in asked)) return id
    return -1
}

function add_group(name, gid) {
    groups[++group_count] = name ":x:" gid ":"
    group_at[name] = group_count
    gids[gid] = name
    gshadow[++gshadow_count] = name ":!::"
    gshadow_at[name] = gshadow_count
}

function want_group(name, gid,    now, id) {
    if (name in group_at) {
        now = field(groups[group_at[name]], 3)
        if (gid != "-" && gid != now) problem("the group " name " has the number " now " here, not " gid)
        return
    }
    id = gid
    if (gid == "-" || (gid in gids)) {
        id = free_id(gids, asked_gids)
        if (gid != "-") problem("the number " gid " belongs to the group " gids[gid] "; " name " has " id)
    }
    add_group(name, id)
}

function want_user(name, uid, its_shell, member_of, hash,    now, id, gid, line, secret, parts, n, i) {
    if (name in user_at) {
        now = field(users[user_at[name]], 3)
        if (uid != "-" && uid != now) problem("the user " name " has the number " now " here, not " uid)
        if (now == 0) { problem("the user " name " is root by another name"); return }
    } else {
        id = uid
        if (uid == "-" || (uid in uids)) {
            id = free_id(uids, asked_uids)
            if (uid != "-") problem("the number " uid " belongs to the user " uids[uid] "; " name " has " id)
        }
        if (name in group_at) gid = field(groups[group_at[name]], 3)
        else { gid = (id in gids) ? free_id(gids, asked_gids) : id; add_group(name, gid) }
        users[++user_count] = name ":x:" id ":" gid "::/home/" name ":" shell
        user_at[name] = user_count
        uids[id] = name
    }
    if (its_shell != "-") users[user_at[name]] = with(users[user_at[name]], 7, its_shell)
    if (!(name in shadow_at)) {
        shadow[++shadow_count] = name ":*:" day ":0:99999:7:::"
        shadow_at[name] = shadow_count
    }
    line = shadow[shadow_at[name]]
    secret = field(line, 2)
    # sshd without PAM takes a leading ! for an account that is closed to keys as well; * is only no password.
    sub(/^!+/, "", secret)
    if (secret == "") secret = "*"
    if (hash != "-") { secret = hash; print name "\t!" > (out "/managed") }
    else if ((name, "!") in given) secret = "*"
    shadow[shadow_at[name]] = with(with(line, 2, secret), 8, "")
    print name > (out "/managed")
    print field(users[user_at[name]], 6) "\t" field(users[user_at[name]], 3) "\t" field(users[user_at[name]], 4) > (out "/homes")
    n = split(member_of, parts, ",")
    for (i = 1; i <= n; i++) {
        if (parts[i] == "-") continue
        if (parts[i] in group_at) {
            if (!has(field(groups[group_at[parts[i]]], 4), name) || ((name, parts[i]) in given)) print name "\t" parts[i] > (out "/managed")
            set_member(parts[i], name)
        }
        else problem("there is no group " parts[i] " for the user " name)
    }
}

function set_member(group, name,    at) {
    at = group_at[group]
    groups[at] = with(groups[at], 4, joined(field(groups[at], 4), name))
    if (group in gshadow_at) {
        at = gshadow_at[group]
        gshadow[at] = with(gshadow[at], 4, joined(field(gshadow[at], 4), name))
    }
}

function drop_member(group, name) {
    if (group in group_at) groups[group_at[group]] = with(groups[group_at[group]], 4, without(field(groups[group_at[group]], 4), name))
    if (group in gshadow_at) gshadow[gshadow_at[group]] = with(gshadow[gshadow_at[group]], 4, without(field(gshadow[gshadow_at[group]], 4), name))
}

# Nothing of it is deleted: files belong to it, and its number must not go to somebody else.
function lock_user(name,    line, secret, i) {
    if (!(name in user_at)) return
    if (name in shadow_at) {
        line = shadow[shadow_at[name]]
        secret = field(line, 2)
        if (secret !~ /^!/) secret = "!" secret
        shadow[shadow_at[name]] = with(with(line, 2, secret), 8, 1)
    }
    for (i = 1; i <= group_count; i++) groups[i] = with(groups[i], 4, without(field(groups[i], 4), name))
    for (i = 1; i <= gshadow_count; i++) gshadow[i] = with(gshadow[i], 4, without(field(gshadow[i], 4), name))
    print name > (out "/managed")
    if ((name, "!") in given) print name "\t!" > (out "/managed")
}

BEGIN {
    user_count = load("passwd", users, user_at)
    group_count = load("group", groups, group_at)
    shadow_count = load("shadow", shadow, shadow_at)
    gshadow_count = load("gshadow", gshadow, gshadow_at)
    had_gshadow = gshadow_count
    for (name in user_at) uids[field(users[user_at[name]], 3)] = name
    for (name in group_at) gids[field(groups[group_at[name]], 3)] = name
    count = 0
    while ((getline line < wanted) > 0) {
        wish[++count] = line
        split(line, word, "\t")
        if (word[1] == "group" && word[3] != "-") asked_gids[word[3]] = 1
        if (word[1] == "user") {
            n = split(word[5], parts, ",")
            for (i = 1; i <= n; i++) is_member[word[2], parts[i]] = 1
        }
        if (word[1] == "user") { is_wanted[word[2]] = 1; if (word[3] != "-") asked_uids[word[3]] = 1 }
    }
    while ((getline line < managed) > 0) {
        n = split(line, word, "\t")
        if (n == 1 && !(line in is_wanted)) gone[line] = 1
        if (n == 2) {
            given[word[1], word[2]] = 1
            # What the image gave stays.
            if (!((word[1], word[2]) in is_member)) drop_member(word[2], word[1])
        }
    }
    for (name in gone) lock_user(name)
    for (i = 1; i <= count; i++) if (split(wish[i], word, "\t") && word[1] == "group") want_group(word[2], word[3])
    # Who asked for a number gets it before those who take any.
    for (pass = 1; pass <= 2; pass++)
        for (i = 1; i <= count; i++) {
            split(wish[i], word, "\t")
            if (word[1] == "user" && (pass == 1) == (word[3] != "-")) want_user(word[2], word[3], word[4], word[5], word[6])
        }
    save("passwd", users, user_count)
    save("group", groups, group_count)
    save("shadow", shadow, shadow_count)
    if (had_gshadow > 0) save("gshadow", gshadow, gshadow_count)
}
