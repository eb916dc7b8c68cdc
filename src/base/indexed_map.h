// The map behind Json's objects: members in the order of the text, found by hash once there are many of them.
#pragma once

#include <functional>
#include <nlohmann/ordered_map.hpp>
#include <stdexcept>
#include <string_view>
#include <unordered_map>
#include <utility>

namespace lowbit {

/// nlohmann::ordered_map looks every key up from front to back, which makes reading a vocabulary of n tokens take n^2
/// steps (three seconds for 50,000). Here only small objects are searched so. Keys are strings. Safe to read from many
/// threads.
template <class Key, class T, class Less = std::less<Key>, class Allocator = std::allocator<std::pair<const Key, T>>>
class IndexedMap : public nlohmann::ordered_map<Key, T, Less, Allocator> {
  using Base = nlohmann::ordered_map<Key, T, Less, Allocator>;

 public:
  using typename Base::const_iterator;
  using typename Base::iterator;
  using typename Base::size_type;
  using typename Base::value_type;

  IndexedMap() = default;
  template <class It>
  IndexedMap(It first, It last) {
    insert(first, last);
  }

  const_iterator find(std::string_view key) const { return this->begin() + static_cast<std::ptrdiff_t>(place(key)); }
  iterator find(std::string_view key) { return this->begin() + static_cast<std::ptrdiff_t>(place(key)); }
  size_type count(std::string_view key) const { return place(key) == this->size() ? 0 : 1; }

  template <class K>
  std::pair<iterator, bool> emplace(K&& key, T&& value) {
    if (const auto found = find(key); found != this->end()) return {found, false};
    Base::Container::emplace_back(std::forward<K>(key), std::move(value));
    if (this->size() > kSmall) {
      for (size_type i = index_.size(); i < this->size(); ++i) index_.emplace(hash((*this)[i].first), i);
    }
    return {std::prev(this->end()), true};
  }
  std::pair<iterator, bool> insert(value_type&& member) { return emplace(member.first, std::move(member.second)); }
  std::pair<iterator, bool> insert(const value_type& member) { return emplace(member.first, T(member.second)); }
  template <class It>
  void insert(It first, It last) {
    for (; first != last; ++first) insert(*first);
  }

  T& operator[](std::string_view key) { return emplace(Key(key), T{}).first->second; }
  const T& operator[](std::string_view key) const { return at(key); }
  T& at(std::string_view key) { return Base::Container::at(checked(key)).second; }
  const T& at(std::string_view key) const { return Base::Container::at(checked(key)).second; }

  size_type erase(std::string_view key) {
    const auto found = find(key);
    if (found == this->end()) return 0;
    erase(found);
    return 1;
  }
  iterator erase(iterator member) { return erase(member, std::next(member)); }
  iterator erase(iterator first, iterator last) {
    const auto next = Base::erase(first, last);
    index_.clear();
    for (size_type i = 0; this->size() > kSmall && i < this->size(); ++i) index_.emplace(hash((*this)[i].first), i);
    return next;
  }
  void clear() {
    Base::clear();
    index_.clear();
  }

 private:
  static constexpr size_type kSmall = 16;
  static size_t hash(std::string_view key) { return std::hash<std::string_view>()(key); }

  const value_type& operator[](size_type i) const { return Base::Container::operator[](i); }

  /// The place of `key`, size() if it is absent.
  size_type place(std::string_view key) const {
    if (this->size() <= kSmall) {
      size_type i = 0;
      while (i < this->size() && (*this)[i].first != key) ++i;
      return i;
    }
    const auto [first, last] = index_.equal_range(hash(key));
    for (auto i = first; i != last; ++i) {
      if ((*this)[i->second].first == key) return i->second;
    }
    return this->size();
  }
  size_type checked(std::string_view key) const {
    const size_type i = place(key);
    if (i == this->size()) throw std::out_of_range("key not found");
    return i;
  }

  std::unordered_multimap<size_t, size_type> index_;  // hash -> place; of all members or, while there are few, of none
};

}  // namespace lowbit
